// stompit: streams in both directions, a receipt for everything that ends.

import { Inbox, bytes, load, pause, run, sha256, shown, task, within } from './scenario.mjs';

const stompit = load('stompit');

/** A connected client. */
function connect(headers = {}, options = {}) {
  const connectHeaders = { ...headers };
  if (task.version) connectHeaders['accept-version'] ??= task.version;
  const { host, port } = task;
  return within(
    new Promise((resolve, reject) => {
      stompit.connect({ host, port, ...options, connectHeaders }, (error, client) => {
        if (error) reject(error);
        else resolve(client);
      });
    }),
    'CONNECTED',
  );
}

const disconnect = (client) =>
  within(
    new Promise((resolve, reject) => {
      client.disconnect((error) => (error ? reject(error) : resolve()));
    }),
    'the end of the connection',
  );

/** Subscribe; the inbox gets each message once its body is complete. */
function subscribe(client, destination, headers = {}) {
  const inbox = new Inbox();
  client.subscribe({ destination, ...headers }, collect(inbox));
  return inbox;
}

const collect = (inbox) => (error, message) => {
  if (error) return;
  const chunks = [];
  message.on('data', (chunk) => chunks.push(chunk));
  message.on('end', () => {
    message.content = Buffer.concat(chunks);
    inbox.put(message);
  });
};

/** Send without waiting. */
function send(sender, destination, body, headers = {}, options = undefined) {
  sender.send({ destination, ...headers }, options).end(body);
}

/** Do something that takes an onReceipt option; wait for the receipt. */
const confirmed = (action) =>
  within(new Promise((resolve) => action({ onReceipt: resolve })), 'the receipt');

const ack = (client, message) => confirmed((options) => client.ack(message, {}, options));

const text = (message) => message.content.toString();

const scenarios = {
  async connect() {
    const client = await connect(task.headers);
    const { headers } = client;
    await disconnect(client);
    return { headers };
  },

  async queue() {
    const client = await connect();
    const inbox = subscribe(client, '/queue/letters');
    send(client, '/queue/letters', bytes(task.body), { 'content-type': 'text/plain', a: 'b' });
    const message = shown(await inbox.take());
    await disconnect(client);
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
    await confirmed((options) => send(second, '/queue/x', 'x', {}, options));
    send(first, '/topic/prices.gold', '1931');
    const got = [];
    for (const inbox of inboxes.slice(0, 3)) got.push(text(await inbox.take()));
    await disconnect(first);
    await disconnect(second);
    return { got, left: inboxes.map((inbox) => inbox.size) };
  },

  async nack() {
    const client = await connect();
    const inbox = subscribe(client, '/queue/work', { ack: 'client-individual' });
    send(client, '/queue/work', 'one');
    send(client, '/queue/work', 'two');
    const [one, two] = await inbox.takeMany(2);
    client.ack(one);
    client.nack(two);
    const again = await inbox.take();
    await ack(client, again);
    await disconnect(client);
    return { first: shown(two), again: shown(again) };
  },

  async deadLetter() {
    const client = await connect();
    const work = subscribe(client, '/queue/work', { ack: 'client-individual' });
    const dead = subscribe(client, '/queue/DLQ.work');
    send(client, '/queue/work', 'poison');
    client.nack(await work.take(), { requeue: 'false', reason: 'bad: colour' });
    const letter = shown(await dead.take());
    await disconnect(client);
    return letter;
  },

  async cumulativeAck() {
    const client = await connect();
    const inbox = subscribe(client, '/queue/work', { ack: 'client' });
    for (const body of ['0', '1', '2', '3']) send(client, '/queue/work', body);
    const messages = await inbox.takeMany(4);
    await ack(client, messages[2]);
    await disconnect(client);
    const other = await connect();
    const left = shown(await subscribe(other, '/queue/work').take());
    await disconnect(other);
    return left;
  },

  async commit() {
    const client = await connect();
    const inbox = subscribe(client, '/queue/ledger');
    const transaction = client.begin();
    send(transaction, '/queue/ledger', 'debit');
    send(transaction, '/queue/ledger', 'credit');
    send(client, '/queue/ledger', 'outside');
    const before = text(await inbox.take());
    await confirmed((options) => transaction.commit(options));
    const after = (await inbox.takeMany(2)).map(text);
    await disconnect(client);
    return { before, after };
  },

  async abort() {
    const client = await connect();
    const inbox = subscribe(client, '/queue/ledger');
    const transaction = client.begin('t:1');
    send(transaction, '/queue/ledger', 'never');
    await confirmed((options) => transaction.abort(options));
    send(client, '/queue/ledger', 'after');
    const got = text(await inbox.take());
    await disconnect(client);
    return { got };
  },

  async receipts() {
    const client = await connect();
    const order = [];
    const note = (name) => ({ onReceipt: () => order.push(name) });
    for (const name of ['a', 'b', 'c']) send(client, '/queue/q', name, {}, note(name));
    await confirmed((options) => send(client, '/queue/q', 'd', {}, options));
    await disconnect(client);
    return { order };
  },

  async beats() {
    const options = { heartbeat: [task.beat, task.beat], heartbeatDelayMargin: 3 * task.beat };
    const client = await connect({}, options);
    const inbox = subscribe(client, '/queue/q');
    await confirmed((receipt) => send(client, '/queue/other', 'x', {}, receipt));
    const socket = client.getTransportSocket();
    const before = [socket.bytesRead, socket.bytesWritten];
    await pause(task.idle);
    const received = socket.bytesRead - before[0];
    const sent = socket.bytesWritten - before[1];
    send(client, '/queue/q', 'alive');
    const got = text(await inbox.take());
    await disconnect(client);
    return { received, sent, got };
  },

  async bodies() {
    const client = await connect();
    const inbox = subscribe(client, '/queue/bytes');
    const body = bytes(task.body);
    send(client, '/queue/bytes', body, { 'content-length': body.length });
    send(client, '/queue/bytes', '');
    send(client, '/queue/bytes', bytes(task.text));
    const got = (await inbox.takeMany(3)).map(shown);
    await disconnect(client);
    return { got };
  },

  async large() {
    const client = await connect();
    const inbox = subscribe(client, '/queue/large');
    const body = Buffer.alloc(task.size, '0123456789abcdef');
    send(client, '/queue/large', body, { 'content-length': body.length });
    const digest = sha256((await inbox.take()).content);
    await disconnect(client);
    return { digest };
  },

  async headers() {
    const client = await connect();
    const inbox = subscribe(client, '/queue/a:b', { id: 'sub:1' });
    send(client, '/queue/a:b', 'x', task.headers);
    const message = shown(await inbox.take());
    await disconnect(client);
    return message;
  },

  async error() {
    const client = await connect();
    const errors = new Inbox();
    // stompit's own handler destroys the frame where it means the client, and so the process.
    client.setCommandHandler('ERROR', (frame) => collect(errors)(null, frame));
    const ended = new Promise((resolve) => client.on('error', resolve));
    send(client, '/nowhere/at/all', 'x', { receipt: 'r:1' });
    const error = shown(await errors.take('the error'));
    await within(ended, 'the end of the connection');
    return error;
  },

  async reply() {
    const [asker, answerer] = [await connect(), await connect()];
    // RabbitMQ's way: the broker subscribes the client to the queue that it names.
    const answers = new Inbox();
    asker.setImplicitSubscription('/temp-queue/answers', 'auto', collect(answers));
    const questions = subscribe(answerer, '/queue/questions');
    send(asker, '/queue/questions', '6 * 7', { 'reply-to': '/temp-queue/answers' });
    send(answerer, (await questions.take()).headers['reply-to'], '42');
    const answer = shown(await answers.take());
    await disconnect(asker);
    await disconnect(answerer);
    return answer;
  },
};

await run(scenarios);
