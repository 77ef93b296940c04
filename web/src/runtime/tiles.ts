/** Rectangles of the map of hyper-latents (64 x 64 pixels, 4 x 4 latents), by which large pictures are worked on. */

const CODING_SIDE = 48; // part of the file format: symbols lie tile by tile
const TRANSFORM_SIDE = 32; // 2048 pixels: smaller than in Python, as WebAssembly has 4 GB at most
const ALIGNMENT = 4;

/** Rows top ... bottom and columns left ... right, ends not included. */
export class Tile {
  constructor(
    readonly top: number,
    readonly left: number,
    readonly bottom: number,
    readonly right: number,
  ) {}

  get height(): number {
    return this.bottom - this.top;
  }

  get width(): number {
    return this.right - this.left;
  }

  /** With `halo` more on each side, within the whole map. */
  grown(halo: number, whole: Tile): Tile {
    return new Tile(
      Math.max(this.top - halo, whole.top),
      Math.max(this.left - halo, whole.left),
      Math.min(this.bottom + halo, whole.bottom),
      Math.min(this.right + halo, whole.right),
    );
  }

  /** This tile in the coordinates of a larger one. */
  seenFrom(outer: Tile): Tile {
    return new Tile(this.top - outer.top, this.left - outer.left, this.bottom - outer.top, this.right - outer.left);
  }
}

function split(whole: Tile, down: number, across: number): Tile[] {
  const tiles = [];
  for (let top = 0; top < whole.height; top += down) {
    for (let left = 0; left < whole.width; left += across) {
      tiles.push(new Tile(top, left, Math.min(top + down, whole.height), Math.min(left + across, whole.width)));
    }
  }
  return tiles;
}

/** The tiles by which symbols are ordered. */
export function codingTiles(whole: Tile): Tile[] {
  return split(whole, CODING_SIDE, CODING_SIDE);
}

/** The tiles in which pixels are made: as few as can be, the largest of them as small as can be. */
export function transformTiles(whole: Tile): Tile[] {
  const [down, across] = [whole.height, whole.width].map((length) => {
    const fewest = Math.ceil(length / Math.ceil(length / TRANSFORM_SIDE));
    return Math.ceil(fewest / ALIGNMENT) * ALIGNMENT;
  });
  return split(whole, down, across);
}

/** A map (C, h, w) of numbers, whose place in a larger one is given by tiles. */
export class Plane {
  readonly data: Float32Array;

  constructor(
    readonly channels: number,
    readonly height: number,
    readonly width: number,
    data?: Float32Array,
  ) {
    this.data = data ?? new Float32Array(channels * height * width);
  }

  get shape(): [number, number, number, number] {
    return [1, this.channels, this.height, this.width];
  }

  /** The part under a tile, `unit` rows to a hyper-latent; the map itself where that is all. */
  of(tile: Tile, unit: number): Plane {
    const [top, left, height, width] = [tile.top, tile.left, tile.height, tile.width].map((side) => side * unit);
    if (height === this.height && width === this.width) return this;
    const part = new Plane(this.channels, height, width);
    for (let row = 0, at = 0; row < this.channels * height; row++, at += width) {
      const start = (Math.floor(row / height) * this.height + top + (row % height)) * this.width + left;
      part.data.set(this.data.subarray(start, start + width), at);
    }
    return part;
  }

  /** Put the part `inside` of another map at the place of a tile. */
  put(tile: Tile, unit: number, part: Plane, inside: Tile): void {
    const [height, width] = [tile.height * unit, tile.width * unit];
    for (let row = 0; row < this.channels * height; row++) {
      const [channel, y] = [Math.floor(row / height), row % height];
      const from = (channel * part.height + inside.top * unit + y) * part.width + inside.left * unit;
      const to = (channel * this.height + tile.top * unit + y) * this.width + tile.left * unit;
      this.data.set(part.data.subarray(from, from + width), to);
    }
  }
}
