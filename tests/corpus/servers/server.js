// Node's http as an upstream that reports what it saw: server.js ADDRESS PORT REPORTS. See README.md for the form.
// Debian: nodejs.
'use strict';

const fs = require('node:fs');
const http = require('node:http');

const [address, port, path] = process.argv.slice(2);

// Node gives fields as the first 256 characters of Unicode, as the form wants them.
function report(entry) {
  fs.appendFileSync(path, JSON.stringify(entry) + '\n');
}

function entry(request, body, complete, status) {
  const raw = request.rawHeaders;
  const fields = [];
  for (let at = 0; at < raw.length; at += 2) fields.push([raw[at], raw[at + 1]]);
  const line = `${request.method} ${request.url} HTTP/${request.httpVersion}`;
  return { line, fields, body, complete, status };
}

function answer(request, response) {
  let length = 0;
  let told = false;
  request.on('data', (data) => { length += data.length; });
  request.on('end', () => {
    told = true;
    report(entry(request, length, request.complete, 200));
    response.writeHead(200, { 'Content-Length': 5, 'X-Target': request.url });
    response.end('seen\n');
  });
  request.on('error', () => {});
  request.on('close', () => {
    if (!told) report(entry(request, length, false, 0));
  });
}

// Nothing but the protocol may make it refuse: what keygate admits is to be seen here.
const limits = { maxHeaderSize: 256 * 1024, keepAliveTimeout: 600_000, requireHostHeader: true };
const server = http.createServer(limits, answer);
server.maxHeadersCount = 0;
server.maxRequestsPerSocket = 0;
server.headersTimeout = 0;
server.requestTimeout = 0;
server.on('checkContinue', (request, response) => { response.writeContinue(); answer(request, response); });
server.on('checkExpectation', answer);
// With a listener for upgrades Node hands the connection over: whoever asks for one is reported, and answered as
// without.
server.on('upgrade', (request, socket) => {
  report(entry(request, 0, true, 200));
  socket.end(`HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Target: ${request.url}\r\nConnection: close\r\n\r\nseen\n`);
});
server.on('connect', (request, socket) => {
  report(entry(request, 0, true, 200));
  socket.destroy();
});
// What Node refuses by itself was seen too; the packet holds all that it had. What comes behind it is not parsed.
const refused = new WeakSet();
server.on('clientError', (error, socket) => {
  if (error.rawPacket && !refused.has(socket)) {
    refused.add(socket);
    const text = error.rawPacket.toString('latin1');
    const [line, ...lines] = text.split('\r\n\r\n')[0].split('\r\n');
    const fields = lines.map((l) => [l.slice(0, l.indexOf(':')), l.slice(l.indexOf(':') + 1).trim()]);
    report({ line, fields, body: 0, complete: false, status: 400, cause: error.code });
  }
  if (socket.writable) socket.end('HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n');
});
server.listen(Number(port), address);
