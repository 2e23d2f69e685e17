// An origin on Node's own HTTP parser (llhttp). It says in a header what it saw, and nothing else.
'use strict';
const { createHash } = require('node:crypto');
const http = require('node:http');

const server = http.createServer((request, response) => {
  const digest = createHash('sha256');
  let bytes = 0;
  request.on('data', (part) => {
    bytes += part.length;
    digest.update(part);
  });
  request.on('end', () => {
    const { method, url: target } = request;
    const seen = { method, target, host: request.headers.host, bytes, sha256: digest.digest('hex') };
    response.writeHead(200, { 'x-seen': JSON.stringify(seen), 'content-length': 0 }).end();
  });
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
