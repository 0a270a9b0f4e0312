// The model card's third prototype: openai for Node.js.
import assert from 'node:assert/strict';
import OpenAI from 'openai';

const openai = new OpenAI({ apiKey: process.env.NVIDIA_API_KEY, baseURL: process.env.NVIDIA_BASE_URL });
const parameters = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] };
const tools = [{ type: 'function', function: { name: 'get_weather', parameters } }];

function ask(question, options = {}) {
  return openai.chat.completions.create({
    model: 'mistralai/mistral-nemotron',
    messages: [{ role: 'user', content: question }],
    temperature: 0.6,
    top_p: 0.7,
    max_tokens: 200,
    ...options,
  });
}

const done = await ask('Hello');
assert.equal(done.choices[0]?.message?.content, 'Hello! How can I help you today?');

let told = '';
for await (const chunk of await ask('Tell me a story.', { stream: true })) told += chunk.choices[0]?.delta?.content ?? '';
assert.match(told, /^Once upon a time/);

const weather = 'What is the weather in Paris?';
const [call] = (await ask(weather, { tools })).choices[0].message.tool_calls;
assert.deepEqual(JSON.parse(call.function.arguments), { city: 'Paris' });

let pieces = '';
for await (const chunk of await ask(weather, { tools, stream: true })) {
  pieces += chunk.choices[0]?.delta?.tool_calls?.[0]?.function?.arguments ?? '';
}
assert.deepEqual(JSON.parse(pieces), { city: 'Paris' });
