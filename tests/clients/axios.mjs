// One GET with axios, which reads the proxy variables by itself: `axios.mjs URL`.
// Prints the status and the body. It names no proxy, no certificate and no credential of its own.
import axios from 'axios';

const reply = await axios.get(process.argv[2], { responseType: 'text', transformResponse: [], validateStatus: null });
console.log(reply.status);
console.log(reply.data);
