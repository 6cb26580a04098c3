// What the scripts share: the task they were given, waiting, and the report they print.

import { createHash } from 'node:crypto';
import { createRequire } from 'node:module';

const PATIENCE = 5000;

export const task = JSON.parse(process.argv[2]);

/** A package from the folder where the tests installed it. */
export const load = createRequire(`${task.modules}/package.json`);

export const bytes = (base64) => Buffer.from(base64, 'base64');

export const sha256 = (body) => createHash('sha256').update(body).digest('hex');

/** The promise's value, or an error that says what did not come in time. */
export function within(promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} did not come`)), PATIENCE);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

export const pause = (milliseconds) =>
  new Promise((resolve) => setTimeout(resolve, milliseconds));

/** What call-backs put in, taken out in order by whoever awaits it. */
export class Inbox {
  #items = [];
  #waiting = [];

  put = (item) => {
    const waiting = this.#waiting.shift();
    if (waiting) waiting(item);
    else this.#items.push(item);
  };

  take(what = 'a message') {
    if (this.#items.length) return Promise.resolve(this.#items.shift());
    return within(new Promise((resolve) => this.#waiting.push(resolve)), what);
  }

  async takeMany(count) {
    const items = [];
    while (items.length < count) items.push(await this.take());
    return items;
  }

  get size() {
    return this.#items.length;
  }
}

/** A message as the report shows it. */
export const shown = (message) => ({
  headers: message.headers,
  body: Buffer.from(message.content).toString('base64'),
});

/**
 * Run the scenario that was asked for, and print its result as a line of JSON.
 *
 * Nothing calls process.exit: a socket or timer that the client left behind keeps the process
 * alive, and the test notices.
 */
export async function run(scenarios) {
  try {
    const result = await scenarios[task.scenario]();
    process.stdout.write(`${JSON.stringify(result ?? {})}\n`);
  } catch (error) {
    process.stderr.write(`${error.stack}\n`);
    process.exit(1);
  }
}
