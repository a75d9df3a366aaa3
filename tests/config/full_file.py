"""A configuration with every setting off its default."""

from __future__ import annotations

FULL = """\
model_list:
  - model_name: small
    litellm_params:
      model: openai/gpt-4o-mini
      api_key: os.environ/OPENAI_API_KEY
      timeout: 45
      max_parallel_requests: 7
      rpm: 60
      tpm: 1000
    model_info:
      max_input_tokens: 128000
      supports_vision: true
      supports_function_calling: false
      input_cost_per_token: 1.5e-07
      output_cost_per_token: 6e-7
      cache_read_input_token_cost: 7.5e-8
      output_cost_per_reasoning_token: 1e-6
      stream_usage: false
  - model_name: local
    litellm_params:
      model: qwen2.5
      api_base: http://127.0.0.1:8000/v1/
      api_key: sk-literal
      input_cost_per_token: 0
      output_cost_per_token: 0
routing:
  lambda: 2
  reference_llm: small
  wait_weight: 0.2
  wait_steepness_per_s: 0.4
  wait_onset: 0.7
  queue_weight: 0.4
  deadline_s: 20
  policy:
    name: squarecb
    exploration: 0.5
    gap_weight: 50
    scale: 2
    early_scale: 3
    early_judgements: 4
    max_cost_ratio: 4
    min_quality: 0.3
    warmup_judgements: 20
    warmup_share: 0.1
  shadow:
    - {name: bold, lambda: 9, policy: {name: greedy}}
    - {policy: {name: thompson}}
budget:
  usd: 50
  each_key_usd: 5
  keys: [{key: os.environ/TEAM, usd: 20, max_request_usd: 0.5}, {key: key-88dc28d0f030}]
  period: month
  period_s: 3600
  when_spent: cheapest
  max_request_usd: 0.25
encoder: {kind: folder, path: /models/m, max_chars: 4000}
tags:
  domains: [{name: maths, description: sums}]
  temperature: 0.1
  projection_dimension: 32
learning:
  checkpoint_interval_s: 5
  kept_checkpoints: 3
  kept_daily_checkpoints: 2
  stalled_after_s: 9
  recipe: {tag_precision: 3}
  feedback: {treatment: plain, max_key_share: 0.5, key_judgements: 9, key_window_s: 60, unbounded_keys: [k]}
store: {kind: memory, path: other.db, max_commit_delay_s: 0.5}
gateway:
  host: 0.0.0.0
  port: 9000
  api_keys: [sk-client, os.environ/CLIENT_KEY]
  max_body_bytes: 2048
  connect_timeout_s: 2
  llm_key_variables: [GUEST_KEY]
signals: {implicit: [error, cut], regenerate_window_s: 30, max_tracked: 500}
judge:
  model: openai/gpt-4o-mini
  api_base: http://127.0.0.1:9000/v1/
  api_key_env: JUDGE_KEY
  input_cost_per_token: 1.0e-06
  output_cost_per_token: 2.0e-06
  share: 0.5
  rubric: "1.0: good."
  timeout_s: 9
  max_question_chars: 100
  max_answer_chars: 200
  reasoning_tokens: 50
  max_in_flight: 3
  max_queue: 7
  drain_s: 1
privacy: {store_prompts: true}
"""
