// One GET with undici and its EnvHttpProxyAgent, which stands for every library built on it: `undici.mjs URL`.
// Prints the status and the body. It names no proxy, no certificate and no credential of its own.
import { EnvHttpProxyAgent, request } from 'undici';

const reply = await request(process.argv[2], { dispatcher: new EnvHttpProxyAgent() });
console.log(reply.statusCode);
console.log(await reply.body.text());
process.exit(); // the agent would keep its sockets, and with them the process, for a while
