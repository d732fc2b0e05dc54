// The real program as a child process: started, awaited by what it prints,
// and ended by its own process id.

import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

export const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../..');

/** How long the program may take for what it does at once. */
const PATIENCE_MS = 30_000;

/** The lines of a pipe, kept as they come, for whoever waits for one. */
export class Lines {
  #lines = [];
  #ended = false;
  #waiting = new Set();

  constructor(pipe) {
    const reader = createInterface({ input: pipe, crlfDelay: Infinity });
    reader.on('line', (line) => this.#changed(() => this.#lines.push(line)));
    reader.on('close', () => this.#changed(() => (this.#ended = true)));
  }

  #changed(change) {
    change();
    for (const look of [...this.#waiting]) look();
  }

  get text() {
    return this.#lines.join('\n');
  }

  /** What `wanted` makes of the first line that it wants; waits for it. */
  find(wanted, what) {
    return new Promise((resolve, reject) => {
      let checked = 0;
      const end = (settle, value) => {
        clearTimeout(timer);
        this.#waiting.delete(look);
        settle(value);
      };
      const missing = () => end(reject, new Error(`no line with ${what} in:\n${this.text}`));
      const look = () => {
        while (checked < this.#lines.length) {
          const made = wanted(this.#lines[checked++]);
          if (made) return end(resolve, made);
        }
        if (this.#ended) missing();
      };
      const timer = setTimeout(missing, PATIENCE_MS);
      this.#waiting.add(look);
      look();
    });
  }
}

/** A running gateway. */
export class Gateway {
  #process;
  #exited;

  /** `cozeway demo` on a free port. */
  static demo() {
    return Gateway.#start(['demo', '--listen', '127.0.0.1:0']);
  }

  /** `cozeway serve` with a config file. */
  static serving(config) {
    return Gateway.#start(['serve', '--config', config]);
  }

  static async #start(args) {
    const gateway = new Gateway();
    const binary = path.resolve(ROOT, process.env.COZEWAY_BIN ?? 'target/debug/cozeway');
    if (!existsSync(binary)) throw new Error(`${binary} is not there: run \`cargo build\`, or set COZEWAY_BIN`);
    // Only what the tests mean to set reaches the program.
    const kept = Object.entries(process.env).filter(
      ([name]) => !/^(COZE|OPENAI|RUST_LOG)|_proxy$/i.test(name),
    );
    gateway.#process = spawn(binary, args, {
      cwd: ROOT,
      env: { ...Object.fromEntries(kept), COZEWAY_LOG_FORMAT: 'json' },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    gateway.#exited = new Promise((resolve, reject) => {
      gateway.#process.on('error', reject);
      gateway.#process.on('close', (code, signal) => resolve(code ?? signal));
    });
    gateway.output = new Lines(gateway.#process.stdout);
    gateway.log = new Lines(gateway.#process.stderr);
    try {
      gateway.address = await gateway.output.find(
        (line) => /http:\/\/127\.0\.0\.1:[0-9]+/.exec(line)?.[0],
        'the address',
      );
    } catch (error) {
      gateway.#process.kill('SIGKILL');
      await gateway.#exited;
      throw new Error(`${error.message}\nstandard error:\n${gateway.log.text}`);
    }
    return gateway;
  }

  /** What a client is given. */
  get baseURL() {
    return `${this.address}/v1`;
  }

  /** The key that the program shows a newcomer. */
  printedKey() {
    return this.output.find((line) => /Authorization: Bearer ([^\s'"]+)/.exec(line)?.[1], 'a key');
  }

  /** The log line of a request, once it is over for the gateway too. */
  logged(requestId) {
    return this.log.find((line) => {
      if (!line.includes(requestId)) return undefined;
      const entry = JSON.parse(line);
      return entry.request_id === requestId && entry.outcome ? entry : undefined;
    }, `the outcome of ${requestId}`);
  }

  /** Ends the program as a supervisor would; its exit code. */
  async stop() {
    this.#process.kill('SIGTERM');
    const timer = setTimeout(() => this.#process.kill('SIGKILL'), PATIENCE_MS);
    const code = await this.#exited;
    clearTimeout(timer);
    return code;
  }
}
