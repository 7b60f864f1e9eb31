// The page's modules as Vite gives them, for Node.
import { createServer } from "vite";

const server = await createServer({ configFile: false, root: new URL("..", import.meta.url).pathname, server: { middlewareMode: true, ws: false }, appType: "custom", logLevel: "error", optimizeDeps: { noDiscovery: true } });

export const load = (path) => server.ssrLoadModule(path);
export const close = () => server.close();
