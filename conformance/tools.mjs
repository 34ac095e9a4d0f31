// Where the published packages come from: `cargo xtask test` installs them into `.tools/` at the top of the
// repository, from the pinned package.json and package-lock.json beside this file.
import { createRequire } from 'node:module';

/** `load('@modelcontextprotocol/server')`: a package of `.tools/`, whatever the folder the caller is in. */
export const load = createRequire(new URL('../.tools/package.json', import.meta.url));
