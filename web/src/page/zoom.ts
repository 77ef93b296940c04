const MOST = 32;
const STEP = 1.25;
const SHARP = 3; // from this scale on, a pixel is a square

interface Point {
  x: number;
  y: number;
}

/** A canvas on a stage, which the wheel, fingers and keys move and scale. Scales count device pixels to a pixel. */
export class Zoom {
  private scale = 1;
  private place: Point = { x: 0, y: 0 };
  private fits = true;
  private readonly fingers = new Map<number, Point>();

  constructor(
    private readonly stage: HTMLElement,
    private readonly canvas: HTMLCanvasElement,
    private readonly changed: (scale: number, fits: boolean) => void,
  ) {
    stage.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    stage.addEventListener("pointerdown", (event) => this.down(event));
    stage.addEventListener("pointermove", (event) => this.move(event));
    for (const kind of ["pointerup", "pointercancel"] as const) stage.addEventListener(kind, (event) => this.up(event));
    canvas.addEventListener("dblclick", (event) => (this.fits ? this.full(event) : this.fit()));
    new ResizeObserver(() => (this.fits ? this.fit() : this.show())).observe(stage);
  }

  /** As large as the stage allows, but no larger than the picture. */
  fit(): void {
    const { clientWidth: width, clientHeight: height } = this.stage;
    const [across, down] = [width / this.canvas.width, height / this.canvas.height];
    this.fits = true;
    this.scale = Math.min(across * devicePixelRatio, down * devicePixelRatio, 1);
    this.place = { x: 0, y: 0 };
    this.show();
  }

  /** A device pixel for each pixel. */
  full(at?: MouseEvent): void {
    this.to(1, at ? this.seen(at) : this.middle());
  }

  larger(): void {
    this.to(this.scale * STEP, this.middle());
  }

  smaller(): void {
    this.to(this.scale / STEP, this.middle());
  }

  toggle(): void {
    if (this.fits && this.scale < 1) this.full();
    else this.fit();
  }

  private get size(): Point {
    const scale = this.scale / devicePixelRatio;
    return { x: this.canvas.width * scale, y: this.canvas.height * scale };
  }

  private middle(): Point {
    return { x: this.stage.clientWidth / 2, y: this.stage.clientHeight / 2 };
  }

  private seen({ clientX, clientY }: MouseEvent): Point {
    const { left, top } = this.stage.getBoundingClientRect();
    return { x: clientX - left, y: clientY - top };
  }

  /** Another scale; what is at a point of the stage stays there. */
  private to(scale: number, point: Point): void {
    const least = Math.min(1, 64 / Math.max(this.canvas.width, this.canvas.height));
    const wanted = Math.min(Math.max(scale, least), MOST);
    const ratio = wanted / this.scale;
    this.place = { x: point.x - (point.x - this.place.x) * ratio, y: point.y - (point.y - this.place.y) * ratio };
    this.scale = wanted;
    this.fits = false;
    this.show();
  }

  /** Where the picture is smaller than the stage it is in its middle, else it covers it. */
  private show(): void {
    const { size, stage } = this;
    const held = (place: number, length: number, room: number) =>
      length <= room ? (room - length) / 2 : Math.min(Math.max(place, room - length), 0);
    this.place = {
      x: held(this.place.x, size.x, stage.clientWidth),
      y: held(this.place.y, size.y, stage.clientHeight),
    };
    const scale = this.scale / devicePixelRatio;
    this.canvas.style.transform = `translate(${this.place.x}px, ${this.place.y}px) scale(${scale})`;
    this.canvas.classList.toggle("sharp", this.scale >= SHARP);
    this.changed(this.scale, this.fits);
  }

  private wheel(event: WheelEvent): void {
    event.preventDefault();
    this.to(
      this.scale * Math.exp(-Math.sign(event.deltaY) * Math.min(Math.abs(event.deltaY), 100) * 0.003),
      this.seen(event),
    );
  }

  private down(event: PointerEvent): void {
    if (event.button !== 0 || !(event.target === this.canvas || event.target === this.stage)) return;
    this.stage.setPointerCapture(event.pointerId);
    this.fingers.set(event.pointerId, this.seen(event));
    this.canvas.classList.add("moving");
  }

  private move(event: PointerEvent): void {
    const before = this.fingers.get(event.pointerId);
    if (!before) return;
    const now = this.seen(event);
    const other = [...this.fingers].find(([id]) => id !== event.pointerId)?.[1];
    this.fingers.set(event.pointerId, now);
    this.place = { x: this.place.x + now.x - before.x, y: this.place.y + now.y - before.y };
    if (!other) return this.show();
    const distance = (point: Point) => Math.hypot(point.x - other.x, point.y - other.y);
    this.to((this.scale * distance(now)) / Math.max(distance(before), 1), now);
  }

  private up(event: PointerEvent): void {
    this.fingers.delete(event.pointerId);
    if (this.fingers.size === 0) this.canvas.classList.remove("moving");
  }
}
