// @stomp/stompjs: made for WebSocket, and here also over TCP by an adapter with a WebSocket's face.

import net from 'node:net';

import { Inbox, bytes, load, pause, run, sha256, shown, task, within } from './scenario.mjs';

const { Client, StompSocketState, Versions } = load('@stomp/stompjs');

class TcpSocket {
  constructor() {
    this.url = `tcp://${task.host}:${task.port}`;
    this.readyState = StompSocketState.CONNECTING;
    this.socket = net.connect(task.port, task.host, () => {
      this.readyState = StompSocketState.OPEN;
      this.onopen?.();
    });
    this.socket.on('data', (data) => this.onmessage?.({ data }));
    this.socket.on('error', (error) => this.onerror?.(error));
    this.socket.on('close', (hadError) => {
      this.readyState = StompSocketState.CLOSED;
      this.onclose?.({ code: hadError ? 1006 : 1000, reason: '', wasClean: !hadError });
    });
  }

  send(data) {
    this.socket.write(typeof data === 'string' ? data : new Uint8Array(data));
  }

  close() {
    this.readyState = StompSocketState.CLOSING;
    this.socket.end();
  }
}

/** What carries STOMP: a WebSocket where the task has a URL. */
function open(client) {
  if (!task.url) return new TcpSocket();
  const { WebSocket } = load('ws');
  return new WebSocket(task.url, client.stompVersions.protocolVersions(), {
    ca: task.ca,
    origin: task.origin,
  });
}

/** A connected client, with `greeting`, `errors`, `stray` (messages) and `closed` beside. */
async function connect(options = {}) {
  const sockets = [];
  const client = new Client({
    webSocketFactory: () => {
      sockets.push(open(client));
      return sockets.at(-1);
    },
    reconnectDelay: 0,
    heartbeatIncoming: 0,
    heartbeatOutgoing: 0,
    forceBinaryWSFrames: task.binary ?? false,
    ...options,
  });
  if (task.version) client.stompVersions = new Versions([task.version]);
  client.sockets = sockets;
  client.errors = new Inbox();
  client.stray = new Inbox();
  client.onStompError = client.errors.put;
  client.onUnhandledMessage = (message) => client.stray.put(received(message));
  client.closed = new Promise((resolve) => {
    client.onWebSocketClose = resolve;
  });
  const connected = new Promise((resolve) => {
    client.onConnect = resolve;
  });
  client.activate();
  client.greeting = await within(connected, 'CONNECTED');
  return client;
}

function received(message) {
  message.content = message.binaryBody;
  return message;
}

function subscribe(client, destination, headers = {}) {
  const inbox = new Inbox();
  client.subscribe(destination, (message) => inbox.put(received(message)), headers);
  return inbox;
}

const send = (client, destination, body, headers = {}) =>
  client.publish({ destination, body, headers });

let receipts = 0;

/** Do something that takes headers; wait for the receipt. */
function confirmed(client, action) {
  const receipt = `receipt-${(receipts += 1)}`;
  const came = new Promise((resolve) => client.watchForReceipt(receipt, resolve));
  action({ receipt });
  return within(came, 'the receipt');
}

const scenarios = {
  async connect() {
    const client = await connect({ connectHeaders: task.headers });
    const { headers } = client.greeting;
    let receipt = false;
    client.onDisconnect = () => {
      receipt = true;
    };
    await within(client.deactivate(), 'the end of the connection');
    return { headers, receipt };
  },

  async queue() {
    const client = await connect();
    const inbox = subscribe(client, '/queue/letters');
    const body = bytes(task.body).toString();
    send(client, '/queue/letters', body, { 'content-type': 'text/plain', a: 'b' });
    const message = shown(await inbox.take());
    await client.deactivate();
    return message;
  },

  async topic() {
    const [first, second] = [await connect(), await connect()];
    const inboxes = [
      subscribe(first, '/topic/prices.gold'),
      subscribe(second, '/topic/prices.gold'),
      subscribe(second, '/topic/prices.*'),
      subscribe(second, '/topic/weather'),
    ];
    // A receipt on the same connection says that the subscriptions before it are there.
    await confirmed(second, (headers) => send(second, '/queue/x', 'x', headers));
    send(first, '/topic/prices.gold', '1931');
    const got = [];
    for (const inbox of inboxes.slice(0, 3)) got.push((await inbox.take()).body);
    await first.deactivate();
    await second.deactivate();
    return { got, left: inboxes.map((inbox) => inbox.size) };
  },

  async nack() {
    const client = await connect();
    const inbox = subscribe(client, '/queue/work', { ack: 'client-individual' });
    send(client, '/queue/work', 'one');
    send(client, '/queue/work', 'two');
    const [one, two] = await inbox.takeMany(2);
    one.ack();
    two.nack();
    const again = await inbox.take();
    await confirmed(client, again.ack);
    await client.deactivate();
    return { first: shown(two), again: shown(again) };
  },

  async deadLetter() {
    const client = await connect();
    const work = subscribe(client, '/queue/work', { ack: 'client-individual' });
    const dead = subscribe(client, '/queue/DLQ.work');
    send(client, '/queue/work', 'poison');
    const message = await work.take();
    message.nack({ requeue: 'false', reason: task.reason });
    const letter = shown(await dead.take());
    await client.deactivate();
    return letter;
  },

  async cumulativeAck() {
    const client = await connect();
    const inbox = subscribe(client, '/queue/work', { ack: 'client' });
    for (const body of ['0', '1', '2', '3']) send(client, '/queue/work', body);
    const messages = await inbox.takeMany(4);
    await confirmed(client, messages[2].ack);
    await client.deactivate();
    const other = await connect();
    const left = shown(await subscribe(other, '/queue/work').take());
    await other.deactivate();
    return left;
  },

  async commit() {
    const client = await connect();
    const inbox = subscribe(client, '/queue/ledger');
    const transaction = client.begin();
    const headers = { transaction: transaction.id };
    send(client, '/queue/ledger', 'debit', headers);
    send(client, '/queue/ledger', 'credit', headers);
    send(client, '/queue/ledger', 'outside');
    const before = (await inbox.take()).body;
    transaction.commit();
    const after = (await inbox.takeMany(2)).map((message) => message.body);
    await client.deactivate();
    return { before, after };
  },

  async abort() {
    const client = await connect();
    const inbox = subscribe(client, '/queue/ledger', { ack: 'client-individual' });
    send(client, '/queue/ledger', 'before');
    const before = await inbox.take();
    const transaction = client.begin();
    const headers = { transaction: transaction.id };
    before.ack(headers);
    send(client, '/queue/ledger', 'never', headers);
    transaction.abort();
    send(client, '/queue/ledger', 'after');
    const got = await inbox.take();
    before.ack();
    await confirmed(client, got.ack);
    await client.deactivate();
    return { got: got.body };
  },

  async receipts() {
    const client = await connect();
    const order = [];
    const waits = [];
    for (const name of ['a', 'b', 'c', 'd']) {
      const came = confirmed(client, (headers) => send(client, '/queue/q', name, headers));
      waits.push(came.then(() => order.push(name)));
    }
    await Promise.all(waits);
    await client.deactivate();
    return { order };
  },

  async beats() {
    const client = await connect({
      heartbeatIncoming: task.beat,
      heartbeatOutgoing: task.beat,
      heartbeatToleranceMultiplier: 4,
    });
    let received = 0;
    client.onHeartbeatReceived = () => {
      received += 1;
    };
    const inbox = subscribe(client, '/queue/q');
    const socket = client.sockets[0].socket ?? client.sockets[0]._socket;
    const before = socket.bytesWritten;
    await pause(task.idle);
    const sent = socket.bytesWritten - before;
    send(client, '/queue/q', 'alive');
    const got = (await inbox.take()).body;
    await client.deactivate();
    return { received, sent, got };
  },

  async bodies() {
    const client = await connect();
    const inbox = subscribe(client, '/queue/bytes');
    const destination = '/queue/bytes';
    client.publish({ destination, binaryBody: new Uint8Array(bytes(task.body)) });
    client.publish({ destination });
    const body = bytes(task.text).toString();
    client.publish({ destination, body, skipContentLengthHeader: true });
    const got = (await inbox.takeMany(3)).map(shown);
    await client.deactivate();
    return { got };
  },

  async large() {
    const client = await connect({ splitLargeFrames: task.split, maxWebSocketChunkSize: 65536 });
    const inbox = subscribe(client, '/queue/large');
    send(client, '/queue/large', Buffer.alloc(task.size, '0123456789abcdef').toString());
    const digest = sha256((await inbox.take()).content);
    await client.deactivate();
    return { digest };
  },

  async headers() {
    const client = await connect();
    const inbox = subscribe(client, '/queue/a:b', { id: 'sub:1' });
    send(client, '/queue/a:b', 'x', task.headers);
    const message = shown(await inbox.take());
    await client.deactivate();
    return message;
  },

  async error() {
    const client = await connect();
    send(client, '/nowhere/at/all', 'x', { receipt: 'r-1' });
    const error = await client.errors.take('the error');
    await within(client.closed, 'the end of the connection');
    await client.deactivate();
    return { headers: error.headers, body: error.body };
  },

  async reply() {
    const [asker, answerer] = [await connect(), await connect()];
    const questions = subscribe(answerer, '/queue/questions');
    // RabbitMQ's way: the broker subscribes the client to the queue that it names.
    send(asker, '/queue/questions', '6 * 7', { 'reply-to': '/temp-queue/answers' });
    send(answerer, (await questions.take()).headers['reply-to'], '42');
    const answer = shown(await asker.stray.take());
    await asker.deactivate();
    await answerer.deactivate();
    return answer;
  },
};

await run(scenarios);
