/** Where the page was told to sync: from the fragment at first, from this tab's session afterwards. */
export interface Config {
  token: string;
  user: string;
  url: string;
  two: boolean;
}

const NAMES = ["token", "user", "url", "view"] as const;
const stored = (name: string): string => sessionStorage.getItem(`clawde.${name}`) ?? "";

/** Takes what the fragment says and removes it from the address bar: a token must not stay in a history or a bookmark. */
export function readConfig(): Config {
  const fragment = new URLSearchParams(location.hash.slice(1));
  for (const name of NAMES) {
    const value = fragment.get(name);
    if (value !== null) sessionStorage.setItem(`clawde.${name}`, value);
  }
  if (location.hash) history.replaceState(null, "", location.pathname + location.search);
  const token = stored("token");
  return {
    token,
    user: stored("user") || userOf(token) || "dev",
    url: (stored("url") || location.origin).replace(/\/+$/, ""),
    two: stored("view") === "two",
  };
}

export function keepToken(token: string): void {
  sessionStorage.setItem("clawde.token", token);
}

export function keepView(two: boolean): void {
  sessionStorage.setItem("clawde.view", two ? "two" : "one");
}

interface Claims {
  sub?: string;
  exp?: number;
  "https://hasura.io/jwt/claims"?: { "x-hasura-user-id"?: string };
}

function claimsOf(jwt: string): Claims | null {
  const body = jwt.split(".")[1];
  if (!body) return null;
  try {
    return JSON.parse(atob(body.replaceAll("-", "+").replaceAll("_", "/"))) as Claims;
  } catch {
    return null;
  }
}

function userOf(jwt: string): string {
  const claims = claimsOf(jwt);
  return claims?.["https://hasura.io/jwt/claims"]?.["x-hasura-user-id"] ?? claims?.sub ?? "";
}

/** Whether it is one, and has not run out by this machine's clock. */
export function looksUsable(jwt: string): boolean {
  const claims = claimsOf(jwt);
  return claims !== null && (claims.exp === undefined || claims.exp * 1000 > Date.now());
}
