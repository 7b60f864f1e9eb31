import type { Device } from "../device/device";
import { fileKey } from "../keys";

/** Lets files be dropped onto an element: they land in the folder that they are dropped on. */
export function takeDrops(el: HTMLElement, device: Device, folderAt: (target: Element) => string): void {
  const over = (event: DragEvent, isOver: boolean): void => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    el.classList.toggle("dropping", isOver);
  };
  el.addEventListener("dragover", (event) => over(event, true));
  el.addEventListener("dragleave", (event) => over(event, false));
  el.addEventListener("drop", (event) => {
    over(event, false);
    const folder = event.target instanceof Element ? folderAt(event.target) : "";
    for (const file of event.dataTransfer?.files ?? []) {
      const path = folder ? `${folder}/${file.name}` : file.name;
      void file.arrayBuffer().then((content) => device.write(fileKey(path), new Uint8Array(content), "elsewhere"));
    }
  });
}
