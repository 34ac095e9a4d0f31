// npm `jose` as a peer: makes and opens JOSE objects as it is told, one JSON line in, one JSON line out.
//
//   {"do": "generate", "key": NAME, "alg", "crv"?}          -> {"jwk": the public key}
//   {"do": "import", "key": NAME, "jwk"}                    -> {"thumbprint"}
//   {"do": "private", "key": NAME}                          -> {"jwk": the private key}
//   {"do": "sign", "key", "alg", "typ", "payload", "form"}  -> {"token"}
//   {"do": "verify", "key", "alg", "token"}                 -> {"payload", "typ"}
//   {"do": "encrypt", "key", "alg", "enc", "cty"?, "plaintext", "form"} -> {"token"}
//   {"do": "decrypt", "key", "alg", "token"}                -> {"plaintext", "enc", "cty"}
//
// Bytes are base64url. What this library does not have is answered {"lacks": WHAT}, what it refuses {"refused": WHY}.
import { createInterface } from 'node:readline';
import { load } from '../../../../conformance/tools.mjs';

const jose = load('jose');
const { version } = load('jose/package.json');

const keys = new Map();
const bytes = text => jose.base64url.decode(text);
const text = data => jose.base64url.encode(data);
// RFC 7515 §7.2: both JSON serialisations are objects.
const compact = token => typeof token === 'string';

class Lacks extends Error {}

const work = {
  async generate({ key, alg, crv }) {
    let pair;
    try {
      pair = await jose.generateKeyPair(alg, { extractable: true, ...(crv && { crv }) });
    } catch (error) {
      throw new Lacks(`${alg} (${error.message})`);
    }
    keys.set(key, { ...pair, alg });
    const jwk = await jose.exportJWK(pair.publicKey);
    return { jwk, thumbprint: await jose.calculateJwkThumbprint(jwk) };
  },

  async import({ key, jwk }) {
    let publicKey;
    try {
      publicKey = await jose.importJWK(jwk, jwk.alg);
    } catch (error) {
      if (error.code === 'ERR_JOSE_NOT_SUPPORTED' || error.name === 'NotSupportedError') throw new Lacks(`${jwk.alg} (${error.message})`);
      throw error;
    }
    keys.set(key, { publicKey, privateKey: publicKey });
    return { thumbprint: await jose.calculateJwkThumbprint(jwk) };
  },

  async private({ key }) {
    return { jwk: await jose.exportJWK(keys.get(key).privateKey) };
  },

  async sign({ key, alg, typ, payload, form }) {
    const { privateKey } = keys.get(key);
    const header = { alg, typ, kid: key };
    const data = bytes(payload);
    if (form === 'general') return { token: await new jose.GeneralSign(data).addSignature(privateKey).setProtectedHeader(header).done().sign() };
    const Sign = form === 'flattened' ? jose.FlattenedSign : jose.CompactSign;
    return { token: await new Sign(data).setProtectedHeader(header).sign(privateKey) };
  },

  async verify({ key, alg, token }) {
    const { publicKey } = keys.get(key);
    const verify = compact(token) ? jose.compactVerify : token.signatures ? jose.generalVerify : jose.flattenedVerify;
    const { payload, protectedHeader } = await verify(token, publicKey, { algorithms: [alg] });
    return { payload: text(payload), typ: protectedHeader.typ };
  },

  async encrypt({ key, alg, enc, cty, plaintext, form }) {
    const { publicKey } = keys.get(key);
    const header = { alg, enc, kid: key, ...(cty && { cty }) };
    const data = bytes(plaintext);
    if (form === 'general') return { token: await new jose.GeneralEncrypt(data).setProtectedHeader(header).addRecipient(publicKey).done().encrypt() };
    const Encrypt = form === 'flattened' ? jose.FlattenedEncrypt : jose.CompactEncrypt;
    return { token: await new Encrypt(data).setProtectedHeader(header).encrypt(publicKey) };
  },

  async decrypt({ key, alg, token }) {
    const { privateKey } = keys.get(key);
    const decrypt = compact(token) ? jose.compactDecrypt : token.recipients ? jose.generalDecrypt : jose.flattenedDecrypt;
    const { plaintext, protectedHeader } = await decrypt(token, privateKey, { keyManagementAlgorithms: [alg] });
    return { plaintext: text(plaintext), enc: protectedHeader.enc, cty: protectedHeader.cty };
  },
};

const say = line => {
  if (!process.stdout.write(`${JSON.stringify(line)}\n`)) return new Promise(resolve => process.stdout.once('drain', resolve));
};

await say({ peer: `jose ${version} (npm) on Node ${process.version}` });
for await (const line of createInterface({ input: process.stdin })) {
  const task = JSON.parse(line);
  try {
    await say(await work[task.do](task));
  } catch (error) {
    await say(error instanceof Lacks ? { lacks: error.message } : { refused: `${error.name}: ${error.message}` });
  }
}
