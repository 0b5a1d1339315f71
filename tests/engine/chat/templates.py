"""Chat templates of the kinds that models come with."""

CHATML = """{%- if tools %}<|im_start|>system
<tool_call>: {{ tools | map(attribute='function') | map(attribute='name') | join(',') }}<|im_end|>
{% endif %}
{%- for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}
{%- if enable_thinking is defined and enable_thinking is false %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}
{%- endif %}"""

GEMMA = """{{ bos_token }}
{%- if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}
{%- for message in messages %}
{%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}
{%- endif %}{{ '[' + message['role'] + ']' + message['content'] | trim }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '[model]' }}{% endif %}"""

PARTS_ONLY = """{% for message in messages %}{{ message.role }}:
{%- for part in message.content %}{% if part.type == 'text' %}{{ part.text }}{% endif %}{% endfor %};
{%- endfor %}"""

BOTH = """{% for message in messages %}{{ message.role }}:
{%- if message.content is string %}{{ message.content }}
{%- else %}{% for part in message.content %}{{ part.text }}{% endfor %}{% endif %};
{%- endfor %}"""
