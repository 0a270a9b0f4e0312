#!/usr/bin/env bash
# The model card's fourth prototype: curl.
set -euo pipefail

tools='"tools": [{"type": "function", "function": {"name": "get_weather", "parameters":
  {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}]'

ask() { # the question, further fields, and what the answer must hold
  local response
  response=$(curl --silent -i --no-buffer -w "\n%{http_code}" --request POST \
    --url "$NVIDIA_BASE_URL/chat/completions" \
    --header "Authorization: Bearer $NVIDIA_API_KEY" \
    --header 'Accept: application/json' \
    --header 'Content-Type: application/json' \
    --data "{\"model\": \"mistralai/mistral-nemotron\", \"messages\": [{\"role\": \"user\", \"content\": \"$1\"}] $2}")
  [[ $response == *"200" && $response == *"$3"* ]] || { echo "$response" >&2; exit 1; }
}

ask 'Hello' '' 'Hello! How can I help you today?'
ask 'Tell me a story.' ', "stream": true' 'data: [DONE]'
ask 'What is the weather in Paris?' ", $tools" '{\"city\": \"Paris\"}'
ask 'What is the weather in Paris?' ", $tools, \"stream\": true" '"arguments":"Paris"'
