import { svg, type SVGTemplateResult } from "lit-html";

// 16 px line icons, drawn for this page.
const SHAPES = {
  files: "M3 2.500h5l1.5 2H13v9H3z",
  key: "M10.5 2.5a3 3 0 1 1-2.1 5.1L2.5 13.5M4.5 11.5l1.8 1.8M6.8 9.2l1.6 1.6M8.4 7.6a3 3 0 0 1 2.1-5.1z",
  lock: "M4 7.500h8v6H4zM5.5 7.500V5a2.5 2.5 0 0 1 5 0v2.5",
  devices: "M2 3.500h9v6.500H2zM1 12.500h7M10.5 7.500h4v6h-4z",
  plus: "M8 3.500v9M3.5 8h9",
  close: "M4.5 4.500l7 7M11.5 4.500l-7 7",
  chevron: "M6 4l4 4-4 4",
  pencil: "M3 13l.7-3L10.5 3.200l2.3 2.300L6 12.300z",
  trash: "M3 4.500h10M6 4.500V3h4v1.500M4.5 4.500l.5 9h6l.5-9M7 7v4M9 7v4",
  up: "M8 13V3.500M4 7.500l4-4 4 4",
  down: "M8 3v9.500M4 8.500l4 4 4-4",
  merge: "M4.5 3v10M4.5 5c0 4 7 2 7 6M4.5 2.500v0M11.5 13.500v0",
  clash: "M8 2.500l6 11H2zM8 6.500v3.500M8 11.800v.2",
  check: "M3 8.500l3.5 3.500L13 5",
  bolt: "M9 2L4 9h4l-1 5 5-7H8z",
  help: "M6 6a2 2 0 1 1 2.7 1.900C8 8.2 8 8.7 8 9.500M8 12v.2",
  sun: "M8 5.200a2.8 2.8 0 1 1 0 5.6 2.8 2.8 0 0 1 0-5.600M8 1.500v1.500M8 13v1.500M1.5 8H3M13 8h1.500M3.4 3.400l1 1M11.6 11.600l1 1M12.6 3.400l-1 1M4.4 11.600l-1 1",
  moon: "M12.8 9.800A5.5 5.5 0 0 1 6.2 3.200a5.5 5.5 0 1 0 6.6 6.600z",
  auto: "M8 2.500a5.5 5.5 0 1 1 0 11zM8 2.500a5.5 5.5 0 1 0 0 11",
  panel: "M2.5 3h11v10h-11zM2.5 9.500h11",
  page: "M4 2h5.500L12.5 5v9H4zM6 7.500h4.500M6 10h4.5",
  chat: "M2.5 3.500h11v7.500H7l-3 2.500V11H2.500z",
  restore: "M3.5 5.500v-3M3.5 5.500h3M3.7 5.300a5 5 0 1 1-.7 3.2",
  sync: "M13 6.500A5.2 5.2 0 0 0 3.5 5M13 3v3.500H9.500M3 9.500A5.2 5.2 0 0 0 12.5 11M3 13V9.500h3.5",
  dots: "M3.5 8h.010M8 8h.010M12.5 8h.01",
} as const;

export type IconName = keyof typeof SHAPES;

export function icon(name: IconName): SVGTemplateResult {
  return svg`<svg class="icon" viewBox="0 0 16 16" aria-hidden="true" focusable="false"><path d=${SHAPES[name]} /></svg>`;
}
