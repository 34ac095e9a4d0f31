// Encrypts and decrypts the same sizes with npm `jose`, and prints seconds per operation, one JSON line per size.
// usage: node jose.mjs SIZE...   with `jose` in ../../../.tools/node_modules
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
const require = createRequire(process.env.PORTCULLIS_TOOLS + '/package.json');
const jose = await import(pathToFileURL(require.resolve('jose')).href);
const { publicKey, privateKey } = await jose.generateKeyPair('ECDH-ES+A256KW', { crv: 'P-256' });

/** Median seconds of one run, over at least five runs and about a second. */
async function median(work) {
  const times = [];
  const end = performance.now() + 1000;
  while (times.length < 5 || (performance.now() < end && times.length < 2000)) {
    const start = performance.now();
    await work();
    times.push((performance.now() - start) / 1000);
  }
  return times.sort((a, b) => a - b)[times.length >> 1];
}

for (const size of process.argv.slice(2).map(Number)) {
  const plaintext = new Uint8Array(size).fill(0x5a);
  const header = { alg: 'ECDH-ES+A256KW', enc: 'A256GCM' };
  const seal = () => new jose.CompactEncrypt(plaintext).setProtectedHeader(header).encrypt(publicKey);
  const sealed = await seal();
  const open = () => jose.compactDecrypt(sealed, privateKey);
  console.log(JSON.stringify({ size, seal: await median(seal), open: await median(open), version: require('jose/package.json').version }));
}
