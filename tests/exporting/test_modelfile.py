"""Ollama's Modelfile: what the Go template makes of conversations is what the tokenizer's own template makes."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerBase

from stages.lm import load
from stages.lm.modelfile import Inexpressible, conversations, modelfile, turns
from stages.lm.normal import CHATML, PLAIN

DEFAULT = (  # as Qwen2.5's: a system message of its own where there is none
    "{% if messages[0]['role'] != 'system' %}{{ '<|system|>You write \"code\".\n' }}{% endif %}" + CHATML
)
PREFIXED = CHATML.replace("<|im_start|>", "<|pad|>").replace("\n", "\\n")
TEMPLATES = {"tiny": None, "chatml": CHATML, "plain": PLAIN, "default": DEFAULT, "prefixed": PREFIXED}
REFUSED = {
    "trims": CHATML.replace("message['content']", "message['content'].strip()"),
    "numbers turns": CHATML.replace("'<|im_start|>'", "loop.index | string"),
    "drops thoughts": CHATML.replace("message['content']", "message['content'].split('</think>')[-1]"),
    "refuses all": "{{ raise_exception('no') }}",
}

# What Ollama does with messages (template.Execute): those of one role in a row are joined, all goes in as a map.
GO = """
package main

import (
	"encoding/json"
	"os"
	"text/template"
)

type Message struct{ Role, Content string }

func main() {
	var asked struct {
		Template string
		Talks    [][]Message
	}
	if err := json.NewDecoder(os.Stdin).Decode(&asked); err != nil {
		panic(err)
	}
	parsed := template.Must(template.New("").Option("missingkey=zero").Parse(asked.Template))
	for _, talk := range asked.Talks {
		system, messages := "", []*Message{}
		for i := range talk {
			if talk[i].Role == "system" {
				system = talk[i].Content
			}
			messages = append(messages, &talk[i])
		}
		data := map[string]any{"System": system, "Messages": messages, "Response": ""}
		var text stringWriter
		if err := parsed.Execute(&text, data); err != nil {
			panic(err)
		}
		json.NewEncoder(os.Stdout).Encode(string(text))
	}
}

type stringWriter string

func (s *stringWriter) Write(b []byte) (int, error) {
	*s += stringWriter(b)
	return len(b), nil
}
"""


def tokenizer_with(checkpoint: Path, template: str | None) -> PreTrainedTokenizerBase:
    tokenizer = load.load_tokenizer(checkpoint)
    if template is not None:
        tokenizer.chat_template = template
    return tokenizer


def test_the_tiny_models(checkpoint: Path) -> None:
    assert modelfile(load.load_tokenizer(checkpoint), "tiny-f16.gguf") == (
        "FROM ./tiny-f16.gguf\n"
        'TEMPLATE """{{- range $i, $message := .Messages }}\n'
        "{{- $last := eq (len (slice $.Messages $i)) 1 }}\n"
        '{{- if eq .Role "system" }}{{ "<|system|>" }}{{ .Content }}\n'
        '{{- else if eq .Role "user" }}{{ "<|user|>" }}{{ .Content }}\n'
        '{{- else if eq .Role "assistant" }}{{ "<|assistant|>" }}{{ .Content }}'
        '{{ if not $last }}{{ "<|end|>" }}{{ end }}\n'
        "{{- end }}\n"
        '{{- if and $last (ne .Role "assistant") }}{{ "<|assistant|>" }}{{ end }}\n'
        '{{- end }}"""\n'
        'PARAMETER stop "<|end|>"\n'
    )


def test_a_default_system_message_and_newlines_are_literals(checkpoint: Path) -> None:
    lines = turns(tokenizer_with(checkpoint, DEFAULT)).go_template().splitlines()
    default = r'{{ "<|system|>You write \"code\".\n" }}'
    assert lines[2] == '{{- if and (eq $i 0) (ne .Role "system") }}' + default + "{{ end }}"
    assert lines[4] == r'{{- else if eq .Role "user" }}{{ "<|im_start|>user\n" }}{{ .Content }}{{ "<|im_end|>\n" }}'
    assert lines[-2].endswith(r'{{ "<|im_start|>assistant\n" }}{{ end }}')


def test_both_end_tokens_stop_an_answer(checkpoint: Path) -> None:
    """A base model's: the end token of texts and that of turns differ."""
    tokenizer = tokenizer_with(checkpoint, CHATML)
    tokenizer.add_special_tokens({"extra_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    assert modelfile(tokenizer, "x.gguf").splitlines()[-2:] == [
        'PARAMETER stop "<|end|>"',
        'PARAMETER stop "<|im_end|>"',
    ]


def test_no_system_message_where_the_template_refuses_one(checkpoint: Path) -> None:
    refusing = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no') }}{% endif %}" + CHATML
    assert 'eq .Role "system"' not in turns(tokenizer_with(checkpoint, refusing)).go_template()


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_more_than_fixed_text_is_not_written(checkpoint: Path, name: str) -> None:
    with pytest.raises(Inexpressible):
        modelfile(tokenizer_with(checkpoint, REFUSED[name]), "x.gguf")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("go") is None, reason="go, which runs Ollama's templates, is not installed")
@pytest.mark.parametrize("name", TEMPLATES)
def test_go_renders_what_the_tokenizer_renders(checkpoint: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "render.go").write_text(GO)
    tokenizer = tokenizer_with(checkpoint, TEMPLATES[name])
    found = turns(tokenizer)
    talks = conversations()
    asked = json.dumps({"Template": found.go_template(), "Talks": talks})
    command = ["go", "run", str(tmp_path / "render.go")]
    done = subprocess.run(command, input=asked, capture_output=True, text=True, check=True)
    for talk, line in zip(talks, done.stdout.splitlines(), strict=True):
        assert json.loads(line) == found.render(talk)
        last = talk[-1]
        if last["role"] == "user":
            wanted = tokenizer.apply_chat_template(talk, tokenize=False, add_generation_prompt=True)
        elif last["content"].strip():  # else transformers has nothing to go on with
            wanted = tokenizer.apply_chat_template(talk, tokenize=False, continue_final_message=True)
        else:
            continue
        assert json.loads(line) == wanted
