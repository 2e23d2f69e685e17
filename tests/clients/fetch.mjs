// One GET with Node's own fetch, which follows the proxy variables when NODE_USE_ENV_PROXY is set: `fetch.mjs URL`.
// Prints the status and the body. It names no proxy, no certificate and no credential of its own.
const reply = await fetch(process.argv[2]);
console.log(reply.status);
console.log(await reply.text());
