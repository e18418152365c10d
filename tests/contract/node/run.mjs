// OpenAI's client for Node, unmodified, against a running API: node run.mjs, with OPENAI_BASE_URL and OPENAI_API_KEY set.
// One line for each thing that holds; the first that does not ends it with an error.
import assert from "node:assert/strict";
import OpenAI, { toFile } from "openai";

const client = new OpenAI({ maxRetries: 0, timeout: 30_000 });
const model = "fast";
const messages = [{ role: "user", content: "Where is my order?" }];
const ENDED = ["completed", "failed", "expired", "cancelled"];

const row = (id, content) => ({
  custom_id: id, method: "POST", url: "/v1/chat/completions", body: { model: "auto", messages: [{ role: "user", content }] },
});
const jsonl = (rows) => rows.map((one) => JSON.stringify(one) + "\n").join("");
const upload = async (rows) => client.files.create({ file: await toFile(Buffer.from(jsonl(rows)), "rows.jsonl"), purpose: "batch" });
const create = async (rows, more = {}) =>
  client.batches.create({
    input_file_id: (await upload(rows)).id, endpoint: "/v1/chat/completions", completion_window: "24h", ...more,
  });

async function ended(id) {
  for (let look = 0; look < 400; look++) {
    const batch = await client.batches.retrieve(id);
    if (ENDED.includes(batch.status)) return batch;
    await new Promise((done) => setTimeout(done, 100));
  }
  throw new Error(`${id} does not end`);
}

async function lines(fileId) {
  return (await (await client.files.content(fileId)).text()).trim().split("\n").map((line) => JSON.parse(line));
}

const checks = {
  async "files: create, retrieve, list, content, delete"() {
    const file = await upload([row("a", "x")]);
    assert.equal((await client.files.retrieve(file.id)).filename, "rows.jsonl");
    const listed = [];
    for await (const one of client.files.list({ limit: 1, order: "desc" })) {
      listed.push(one.id);
      if (listed.length === 2) break;
    }
    assert.equal(listed[0], file.id);
    assert.equal(await (await client.files.content(file.id)).text(), jsonl([row("a", "x")]));
    assert.equal((await client.files.delete(file.id)).deleted, true);
    await assert.rejects(client.files.retrieve(file.id), OpenAI.NotFoundError);
  },
  async "files: expires_after"() {
    const file = await client.files.create({
      file: await toFile(Buffer.from("x"), "x.txt"), purpose: "user_data", expires_after: { anchor: "created_at", seconds: 3600 },
    });
    assert.equal(file.expires_at - file.created_at, 3600);
  },
  async "batches: to the end, with an output and an error file"() {
    const batch = await ended((await create([row("good", "x"), row("bad", "[[fail:400]]")], { metadata: { team: "a" } })).id);
    assert.deepEqual([batch.status, batch.metadata.team], ["completed", "a"]);
    assert.deepEqual({ ...batch.request_counts }, { total: 2, completed: 1, failed: 1 });
    assert.equal((await lines(batch.output_file_id))[0].response.body.choices[0].finish_reason, "stop");
    assert.equal((await lines(batch.error_file_id))[0].error.code, "bad_request");
  },
  async "batches: a validation failure has line and code"() {
    const batch = await ended((await create([row("a", "x"), row("a", "y")])).id);
    assert.deepEqual([batch.status, batch.errors.data[0].code, batch.errors.data[0].line], ["failed", "duplicate_custom_id", 2]);
  },
  async "batches: cancelled, listed page by page, and made once"() {
    const file = await upload([row("slow", "[[sleep:30]] x")]);
    const given = { input_file_id: file.id, endpoint: "/v1/chat/completions", completion_window: "24h" };
    const batch = await client.batches.create(given, { headers: { "Idempotency-Key": `node-${file.id}` } });
    assert.equal((await client.batches.create(given, { headers: { "Idempotency-Key": `node-${file.id}` } })).id, batch.id);
    assert.ok(["cancelling", "cancelled"].includes((await client.batches.cancel(batch.id)).status));
    assert.equal((await ended(batch.id)).status, "cancelled");
    const listed = [];
    for await (const one of client.batches.list({ limit: 1 })) {
      listed.push(one.id);
      if (listed.length === 3) break;
    }
    assert.equal(new Set(listed).size, 3);
  },
  async "chat: whole, with headers"() {
    const { data, response, request_id } = await client.chat.completions.create({ model, messages }).withResponse();
    assert.ok(data.choices[0].message.content);
    assert.equal(data.usage.total_tokens, data.usage.prompt_tokens + data.usage.completion_tokens);
    assert.ok(data.rightsize.cost_usd);
    assert.ok(response.headers.get("x-rightsize-job").startsWith("job_"));
    assert.ok(request_id.startsWith("req_"));
  },
  async "chat: streamed, and by the helper"() {
    const whole = (await client.chat.completions.create({ model, messages })).choices[0].message.content;
    let said = "";
    let usage = null;
    const stream = await client.chat.completions.create({ model, messages, stream: true, stream_options: { include_usage: true } });
    for await (const piece of stream) {
      said += piece.choices[0]?.delta?.content ?? "";
      usage = piece.usage ?? usage;
    }
    assert.equal(said, whole);
    assert.ok(usage.total_tokens > 0);
    assert.equal((await client.chat.completions.stream({ model, messages }).finalChatCompletion()).choices[0].message.content, whole);
  },
  async "chat: a JSON schema, several choices"() {
    const schema = { type: "object", properties: { city: { type: "string" } }, required: ["city"], additionalProperties: false };
    const answer = await client.chat.completions.create({
      model, messages, n: 2, response_format: { type: "json_schema", json_schema: { name: "place", schema, strict: true } },
    });
    assert.equal(answer.choices.length, 2);
    assert.equal(typeof JSON.parse(answer.choices[0].message.content).city, "string");
  },
  async "completions and embeddings"() {
    assert.ok((await client.completions.create({ model, prompt: "Once" })).choices[0].text);
    const input = ["a", "b"];
    const numbers = await client.embeddings.create({ model, input, encoding_format: "float" });
    const byDefault = await client.embeddings.create({ model, input });
    numbers.data[1].embedding.forEach((one, place) => assert.ok(Math.abs(one - byDefault.data[1].embedding[place]) < 1e-5));
  },
  async "responses: created, streamed, retrieved"() {
    const made = await client.responses.create({ model, input: "Where is it?", instructions: "Be brief." });
    assert.ok(made.output_text);
    assert.equal((await client.responses.retrieve(made.id)).output_text, made.output_text);
    const kinds = [];
    for await (const event of await client.responses.create({ model, input: "Tell me.", stream: true })) kinds.push(event.type);
    assert.deepEqual([kinds[0], kinds.at(-1)], ["response.created", "response.completed"]);
  },
  async "models: list and retrieve"() {
    const names = [];
    for await (const one of client.models.list()) names.push(one.id);
    assert.ok(names.includes("auto") && names.includes(model));
    assert.equal((await client.models.retrieve(model)).object, "model");
  },
  async "webhooks: managed and unwrapped"() {
    const url = "https://hooks.example.com/rightsize";
    const made = await client.webhooks.create({ name: "node", url, event_types: ["batch.completed"] });
    assert.equal((await client.webhooks.update(made.id, { name: "other" })).name, "other");
    assert.equal((await client.webhooks.retrieve(made.id)).url, url);
    assert.notEqual((await client.webhooks.rotateSecret(made.id)).signing_secret, made.signing_secret);
    await assert.rejects(client.webhooks.unwrap("{}", {}, made.signing_secret));
    assert.equal((await client.webhooks.delete(made.id)).deleted, true);
  },
  async "errors: every class with type, code and param"() {
    const raised = async (pending, kind, status, type, code, param = null) => {
      await assert.rejects(pending, (error) => {
        assert.ok(error instanceof kind, `${error}`);
        assert.deepEqual([error.status, error.type, error.code, error.param], [status, type, code, param]);
        assert.ok((error.requestID ?? error.request_id).startsWith("req_"));
        return true;
      });
    };
    const stranger = new OpenAI({ apiKey: "sk-none", maxRetries: 0 });
    await raised(client.chat.completions.create({ model, messages, n: 99 }), OpenAI.BadRequestError, 400, "invalid_request_error", "invalid_request", "n");
    await raised(stranger.models.list(), OpenAI.AuthenticationError, 401, "authentication_error", "invalid_api_key");
    await raised(client.batches.retrieve("batch_x"), OpenAI.NotFoundError, 404, "not_found_error", "not_found");
    await raised(client.images.generate({ prompt: "x" }), OpenAI.NotFoundError, 404, "not_found_error", "not_found");
    await raised(
      client.chat.completions.create({ model, messages: [{ role: "user", content: "[[fail:500]]" }] }, { maxRetries: 2 }),
      OpenAI.InternalServerError, 502, "server_error", "server_error",
    );
  },
};

for (const [name, check] of Object.entries(checks)) {
  await check();
  console.log(`holds: ${name}`);
}
console.log(`${Object.keys(checks).length} of ${Object.keys(checks).length} hold`);
