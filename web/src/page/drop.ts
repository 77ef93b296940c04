/** Hands over the files that are dropped anywhere on the page, which shows while files are over it. */
export function onDrop(take: (files: readonly File[]) => void): void {
  const { classList } = document.body;
  addEventListener("dragover", (event) => {
    event.preventDefault();
    classList.add("dropping");
  });
  addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) classList.remove("dropping");
  });
  addEventListener("drop", (event) => {
    event.preventDefault();
    classList.remove("dropping");
    take([...(event.dataTransfer?.files ?? [])]);
  });
}
