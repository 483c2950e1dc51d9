"""Prompts: the same bytes in fine-tuning, sampling and benchmark; base models made fit; thoughts kept or dropped."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import trl
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPT2Tokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2Tokenizer,
)

from stages import raft, sample, sft
from stages.common import records
from stages.common.demonstrations import demonstrations
from stages.common.errors import InputError
from stages.common.prompts import continuation, trained_answer
from stages.common.records import Example, Sample, Task, Verdict
from stages.common.selection import as_trained
from stages.lm import devices, hub, load, tuning
from stages.lm.chat import IGNORED, end_ids, prompt_ids, prompt_text, training_row
from stages.lm.decoding import Drawn
from stages.lm.normal import CHATML, PLAIN
from stages.lm.sampling import Sampler
from stages.lm.training import TrainResult, train
from stages.settings.compute import ComputeSettings
from stages.settings.model import BaseSettings
from stages.settings.prompts import PromptSettings
from stages.settings.sampling import SampleSettings
from stages.settings.training import TrainSettings
from tests.conftest import ROOT, make_task

COMPUTE = ComputeSettings(threads=1, dtype="float32")
KEEP, DROP = PromptSettings(reasoning="keep"), PromptSettings()
TEXTS = [f"# Write f(xs): add {n} to each number.\ndef f(xs):\n    return [x + {n} for x in xs]\n" for n in range(99)]
END, IM_START, IM_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
TEMPLATES = Path(trl.__file__).parent / "chat_templates"  # as the models' own repositories have them
SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}

Fetch = Callable[..., tuple[Path, list[str]]]


def qwen(*tokens: str, room: int = 8, template: str | None = None, **ends: Any) -> tuple[PreTrainedModel, Any]:
    """A model with Qwen's tokenizer as its base models have it (eos and pad are <|endoftext|>), whose embedding has
    `room` rows more than there are tokens."""
    tokenizer = Qwen2Tokenizer().train_new_from_iterator(
        TEXTS, 400, show_progress=False, new_special_tokens=[IM_START, IM_END, *tokens]
    )
    tokenizer.chat_template = template
    ends = {"eos_token_id": tokenizer.convert_tokens_to_ids(END), **ends}
    config = Qwen2Config(vocab_size=len(tokenizer) + room, num_key_value_heads=1, bos_token_id=None, **SMALL, **ends)
    return Qwen2ForCausalLM(config), tokenizer


def gpt2(tied: bool = True) -> tuple[PreTrainedModel, Any]:
    """A model whose tokenizer has one special token, and whose embedding has no row to spare."""
    tokenizer = GPT2Tokenizer(vocab={END: 0}, merges=[]).train_new_from_iterator(TEXTS, 400, show_progress=False)
    ids = {"bos_token_id": tokenizer.eos_token_id, "eos_token_id": tokenizer.eos_token_id}
    size = {"vocab_size": len(tokenizer), "n_embd": 32, "n_layer": 1, "n_head": 2, "n_positions": 256}
    config = GPT2Config(**size, **ids, tie_word_embeddings=tied)
    return GPT2LMHeadModel(config), tokenizer


def llama() -> tuple[PreTrainedModel, Any]:
    """A model with Llama's tokenizer: <unk>, <s>, </s> and no padding; no row to spare."""
    tokenizer = LlamaTokenizer().train_new_from_iterator(TEXTS, 400, show_progress=False)
    config = LlamaConfig(vocab_size=len(tokenizer), **SMALL)
    return LlamaForCausalLM(config), tokenizer


@pytest.fixture
def fetch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Fetch:
    """Save a model and take it through the stage `base`; the checkpoint and the lines that were printed."""

    def run(model: PreTrainedModel, tokenizer: Any, name: str = "base") -> tuple[Path, list[str]]:
        model.save_pretrained(tmp_path / "hub")
        tokenizer.save_pretrained(tmp_path / "hub")
        capsys.readouterr()
        out = tmp_path / "models" / name
        hub.fetch(BaseSettings(hub=str(tmp_path / "hub")), COMPUTE, out)
        return out, [line.removeprefix(f"{out}: ") for line in capsys.readouterr().out.splitlines()]

    return run


# Fine-tuning, sampling and benchmark ask alike.

SYSTEM = "Be brief."
SETTINGS = f"""
seed: 1
compute: {{threads: 1, dtype: float32, attention: sdpa}}
prompts: {{system: {{python: {SYSTEM}}}}}
sft: {{train: {{learning_rate: 1.0e-3}}}}
raft: {{train: {{learning_rate: 1.0e-3}}}}
sample: {{n: 1, max_new_tokens: 4, workers: 1}}
benchmark: {{sample: {{n: 1, max_new_tokens: 4, workers: 1}}}}
cycles: {{"1": {{parent: sft}}}}
"""
ASKED = ["Write f(xs): add 3.", "line\r\n\n  <|im_end|> é {{ bos_token }} \t", "trailing \n\n"]
DEFAULT = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
CHATML_TEXT = "<|im_start|>system\n{}<|im_end|>\n<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
FORMATS = {
    "tiny": ("<|system|>{}<|user|>{}<|assistant|>", "<|user|>{}<|assistant|>"),
    "qwen": (CHATML_TEXT, CHATML_TEXT.replace("{}", DEFAULT, 1)),
    "no template": ("{}\n\n### Instruction:\n{}\n\n### Response:\n", "### Instruction:\n{}\n\n### Response:\n"),
}


def base_of(kind: str, checkpoint: Path, fetch: Fetch) -> Path:
    if kind == "tiny":
        return checkpoint
    template = (TEMPLATES / "qwen2_5.jinja").read_text(encoding="utf-8")
    return fetch(*(qwen("<|fim_pad|>", template=template) if kind == "qwen" else gpt2()))[0]


@pytest.mark.parametrize("kind", FORMATS)
def test_every_stage_asks_with_the_same_bytes(
    kind: str, tmp_path: Path, checkpoint: Path, fetch: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scripts themselves run; only the optimizer and the drawing are stood in for."""
    base = base_of(kind, checkpoint, fetch)
    tasks = [make_task(n, prompt=text, reference="r", language="python") for n, text in enumerate(ASKED)]
    tasks += [make_task(len(tasks) + n, prompt=text, reference="r", language="cpp") for n, text in enumerate(ASKED)]
    records.write(tmp_path / "tasks.jsonl", tasks)
    (tmp_path / "params.yaml").write_text(SETTINGS)
    monkeypatch.chdir(tmp_path)
    asked: list[list[int]] = []

    def trained_on(model: Any, tokenizer: Any, rows: list[dict], *_: Any, **__: Any) -> TrainResult:
        for row in rows:
            asked.append([i for i, label in zip(row["input_ids"], row["labels"], strict=True) if label == IGNORED])
            assert row["labels"][len(asked[-1]) :] == row["input_ids"][len(asked[-1]) :]
        return TrainResult(model)

    def draw(self: Sampler, prompts: list[list[int]], rooms: list[int], seed: int) -> list[list[Drawn]]:
        asked.extend(prompts)
        said = [*self.tokenizer("x", add_special_tokens=False)["input_ids"], self.tokenizer.eos_token_id]
        return [[Drawn(said, -1.0)] for _ in prompts]

    def ran(script: Any, arguments: str) -> list[list[int]]:
        asked.clear()
        monkeypatch.setattr(sys, "argv", ["x", *arguments.split(), "--tasks", "tasks.jsonl"])
        script.main()
        return sorted(asked)

    monkeypatch.setattr(tuning, "train", trained_on)
    monkeypatch.setattr(Sampler, "_draw", draw)
    trained = ran(sft, f"--model {base} --out sft --training e.jsonl")
    assert len(trained) == 6
    assert ran(sample, f"--model {base} --out s.jsonl --cycle 1") == trained
    assert ran(sample, f"--model {base} --out b.jsonl --section benchmark.sample") == trained
    records.write(tmp_path / "v.jsonl", [Verdict(t.task_id, 0, 1.0, "pass", "", 1, 1) for t in tasks])
    cycle = "--cycle 1 --samples s.jsonl --verdicts v.jsonl --earlier e.jsonl --out c --training t.jsonl"
    assert ran(raft, f"--parent {base} {cycle}") == trained

    tokenizer = load.load_tokenizer(base)
    with_system, without = FORMATS[kind]
    expected = [with_system.format(SYSTEM, text) for text in ASKED] + [without.format(text) for text in ASKED]
    prompts = PromptSettings(system={"python": SYSTEM})
    assert [prompt_text(tokenizer, t.prompt, t.language, prompts) for t in tasks] == expected
    assert sorted(tokenizer(text, add_special_tokens=False)["input_ids"] for text in expected) == trained
    # What the model reads is that text to the byte (a checkpoint saved by training included).
    for path in (base, tmp_path / "sft"):
        saved = load.load_tokenizer(path)
        assert [saved.decode(prompt_ids(saved, t.prompt, t.language, prompts)) for t in tasks] == expected


def test_a_template_that_refuses_a_system_message_is_one_line(fetch: Fetch) -> None:
    template = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}x"
    tokenizer = load.load_tokenizer(fetch(*qwen("<|fim_pad|>", template=template))[0])
    assert prompt_text(tokenizer, "p", "python", DROP) == "x"
    with pytest.raises(InputError, match=r"system, user: System role not supported; leave prompts\.system empty"):
        prompt_text(tokenizer, "p", "python", PromptSettings(system={"default": "s"}))


# Base models are made fit once, in the stage `base`.


def expect_fit(base: Path) -> PreTrainedTokenizerBase:
    """The checkpoint loads strictly, `tokenizer.json` gives the same ids, and every id has a row in the embedding."""
    tokenizer = load.load_tokenizer(base)
    assert tokenizer.pad_token_id not in end_ids(tokenizer)
    counted = Tokenizer.from_file(str(base / "tokenizer.json"))
    for text in (TEXTS[3], "é \t<|im_start|>x", tokenizer.pad_token):
        assert counted.encode(text, add_special_tokens=False).ids == tokenizer(text, add_special_tokens=False).input_ids
    rows = load.load_model(base, COMPUTE).get_input_embeddings().weight.shape[0]
    assert max(tokenizer.get_vocab().values()) < rows
    return tokenizer


def test_a_qwen_base_model_gets_chatml_and_pads_with_what_it_has(fetch: Fetch) -> None:
    base, lines = fetch(*qwen("<|fim_pad|>"))
    tokenizer = expect_fit(base)
    assert lines == [
        "chat template: none, so the ChatML one of docs/PROMPTS.md",
        "pad: <|endoftext|>, which is eos, so <|fim_pad|> (of the vocabulary)",
    ]
    assert (tokenizer.pad_token, tokenizer.eos_token) == ("<|fim_pad|>", END)
    assert prompt_text(tokenizer, "p", "cpp", DROP) == f"{IM_START}user\np{IM_END}\n{IM_START}assistant\n"


def test_a_padding_token_is_added_where_the_embedding_has_room(fetch: Fetch, tmp_path: Path) -> None:
    base, lines = fetch(*qwen(room=8))
    assert lines[1:] == ["pad: <|endoftext|>, which is eos, so <|pad|> (a new token)"]
    assert expect_fit(base).pad_token == "<|pad|>"
    assert (base / "model.safetensors").read_bytes() == (tmp_path / "hub/model.safetensors").read_bytes()


@pytest.mark.parametrize("kind", ["tied", "not tied"])
def test_the_embedding_grows_where_it_has_no_room(kind: str, fetch: Fetch, tmp_path: Path) -> None:
    """Old rows stay to the bit, in the weights' own type; the new one is their mean, on both sides of the model."""
    model, tokenizer = gpt2(tied=kind == "tied")
    rows = len(tokenizer)
    base, lines = fetch(model.bfloat16(), tokenizer)
    assert expect_fit(base).pad_token == "<|pad|>"
    assert lines[-1] == f"embedding: {rows} rows made {rows + 1}, each new one the mean of the others"
    before, after = (load_file(folder / "model.safetensors") for folder in (tmp_path / "hub", base))
    assert before.keys() == after.keys()
    grown = [name for name in before if before[name].shape != after[name].shape]
    assert len(grown) == (1 if kind == "tied" else 2)
    for name in before:
        assert after[name].dtype == torch.bfloat16
        assert torch.equal(after[name][: before[name].shape[0]], before[name])
    for name in grown:
        assert torch.equal(after[name][rows], before[name].float().mean(0).bfloat16())
    assert json.loads((base / "config.json").read_text())["vocab_size"] == rows + 1


def test_a_base_model_without_chat_tokens_gets_the_plain_template(fetch: Fetch) -> None:
    base, lines = fetch(*llama())
    assert lines == [
        "chat template: none, so the plain one of docs/PROMPTS.md",
        "pad: none, so <unk> (of the vocabulary)",
    ]
    tokenizer = expect_fit(base)
    turns = [("system", "s"), ("user", "u"), ("assistant", "a"), ("user", "v")]
    chat = [{"role": role, "content": content} for role, content in turns]
    text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    assert text == ("s\n\n### Instruction:\nu\n\n### Response:\na</s>\n\n### Instruction:\nv\n\n### Response:\n")


def test_what_a_tokenizer_opens_texts_with_opens_its_prompts(fetch: Fetch) -> None:
    model, tokenizer = llama()
    tokenizer.add_bos_token = True
    assert tokenizer("x")["input_ids"][0] == tokenizer.bos_token_id
    base, _ = fetch(model, tokenizer)
    loaded = load.load_tokenizer(base)
    ids = prompt_ids(loaded, "p", "python", DROP)
    assert ids[0] == loaded.bos_token_id
    assert ids.count(loaded.bos_token_id) == 1


def test_a_fit_model_is_copied_as_it_is(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hub.fetch(BaseSettings(hub=str(checkpoint)), COMPUTE, tmp_path / "base")
    assert capsys.readouterr().out == ""
    for file in checkpoint.iterdir():
        assert (tmp_path / "base" / file.name).read_bytes() == file.read_bytes()


def test_older_files_do_not_undo_what_was_mended(fetch: Fetch, tmp_path: Path) -> None:
    """Loading prefers special_tokens_map.json, which says what pad was."""
    (tmp_path / "hub").mkdir()
    old = {"eos_token": END, "pad_token": {"content": END, "lstrip": False, "rstrip": False, "normalized": False}}
    (tmp_path / "hub/special_tokens_map.json").write_text(json.dumps(old))
    base, _ = fetch(*qwen("<|fim_pad|>"))
    assert expect_fit(base).pad_token == "<|fim_pad|>"


def test_a_tokenizer_in_older_files_gets_a_tokenizer_json(fetch: Fetch, tmp_path: Path) -> None:
    model, tokenizer = qwen("<|fim_pad|>")
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    fetch(model, tokenizer, "whole")
    source = shutil.copytree(tmp_path / "models/whole", tmp_path / "old")
    (source / "tokenizer.json").unlink()
    (source / "vocab.json").write_text(json.dumps(state["model"]["vocab"]))
    (source / "merges.txt").write_text("\n".join(" ".join(pair) for pair in state["model"]["merges"]))
    config = json.loads((source / "tokenizer_config.json").read_text())
    config["added_tokens_decoder"] = {
        str(t["id"]): {k: v for k, v in t.items() if k != "id"} for t in state["added_tokens"]
    }
    (source / "tokenizer_config.json").write_text(json.dumps(config))
    hub.fetch(BaseSettings(hub=str(source)), COMPUTE, tmp_path / "models/new")
    new = expect_fit(tmp_path / "models/new")
    assert new(TEXTS[0]).input_ids == tokenizer(TEXTS[0]).input_ids
    assert (new.eos_token, new.pad_token) == (END, "<|fim_pad|>")


def test_the_documents_templates_are_those_of_the_code() -> None:
    page = (ROOT / "docs/PROMPTS.md").read_text(encoding="utf-8")
    blocks = [block.partition("```")[0].replace("\n", "") for block in page.split("```jinja\n")[1:]]
    assert blocks == [template.replace("\n", "\\n") for template in (CHATML, PLAIN)]


# What is trained to end an answer is what ends sampling.


@pytest.mark.parametrize("ended_by", [END, IM_END, None])
def test_sampling_stops_at_the_trained_end_and_at_the_templates(fetch: Fetch, ended_by: str | None) -> None:
    base, _ = fetch(*qwen("<|fim_pad|>"))
    sampler = Sampler(base, SampleSettings(n=1, max_new_tokens=6), DROP, COMPUTE, seed=0, stream="s")
    sampler.load()
    tokenizer = sampler.tokenizer
    row = training_row(tokenizer, "p", "python", "abc", DROP)
    assert row["labels"][-1] == tokenizer.eos_token_id == sampler.ends[0]
    assert sampler.ends == tokenizer.convert_tokens_to_ids([END, IM_END])
    answer = tokenizer("abc").input_ids[:2]
    script(sampler.model, [*answer, tokenizer.convert_tokens_to_ids(ended_by or "a"), *answer, *answer])
    (drawn,) = sampler.sample_shard([make_task(0)], 0)
    if ended_by:
        assert (drawn.completion, drawn.finish_reason) == (tokenizer.decode(answer), "stop")
        assert drawn.tokens == len(answer) + 1
    else:
        assert (drawn.finish_reason, drawn.tokens) == ("length", 6)


def test_a_base_model_learns_to_stop(fetch: Fetch, tmp_path: Path) -> None:
    """Answers of unlike length are padded in training; each is drawn to its end and no further."""
    base, _ = fetch(*qwen("<|fim_pad|>"))
    tasks = [make_task(0, prompt="first", reference="return 1"), make_task(1, prompt="second", reference="x = 2\n" * 4)]
    devices.use_threads(1)
    tokenizer, model = load.load_tokenizer(base), load.load_model(base, COMPUTE, trainable=True)
    rows = [training_row(tokenizer, e.prompt, e.language, e.completion, DROP) for e in demonstrations(tasks, DROP)]
    settings = TrainSettings(learning_rate=2e-2, epochs=60, batch=2, log_steps=60)
    result = train(model, tokenizer, rows, settings, seed=0, work=tmp_path / "w", label="test", origin="")
    load.save(tmp_path / "models/sft", result.model, tokenizer)
    drawing = SampleSettings(n=1, temperature=0, max_new_tokens=60)
    sampler = Sampler(tmp_path / "models/sft", drawing, DROP, COMPUTE, seed=0, stream="s")
    sampler.load()
    drawn = sampler.sample_shard(tasks, 0)
    assert [(s.completion, s.finish_reason) for s in drawn] == [(t.reference, "stop") for t in tasks]


def script(model: Any, ids: list[int]) -> None:
    """Make the model say these tokens, whatever it is asked."""
    said = iter(ids)

    def forward(*_: Any, input_ids: torch.Tensor, **__: Any) -> Any:
        if input_ids.shape[1] > 1:  # a prompt is read, and nothing is said
            return None
        logits = torch.full((1, 1, model.config.vocab_size), -1e9)
        logits[0, 0, next(said)] = 0
        return type("Output", (dict,), {"logits": logits, "past_key_values": None})()

    model.forward = forward


def test_where_the_model_stops_by_its_own_word_at_the_turns_end_training_ends_there(fetch: Fetch) -> None:
    """As in Phi and Gemma, whose tokenizers name another eos than the one they were tuned to stop at."""
    base, lines = fetch(*qwen("<|fim_pad|>", template=CHATML, eos_token_id=[0, 2]))
    tokenizer = expect_fit(base)
    assert lines[0] == "eos: <|endoftext|> made <|im_end|>"
    assert tokenizer.eos_token == IM_END
    assert end_ids(tokenizer) == [tokenizer.eos_token_id]


@pytest.mark.parametrize(("configured", "found"), [([1, 0], IM_START), (None, None)])
def test_a_missing_end_token_is_the_configurations(fetch: Fetch, configured: list | None, found: str | None) -> None:
    model, tokenizer = qwen("<|fim_pad|>")
    tokenizer.eos_token = None
    for config in (model.config, model.generation_config):
        config.eos_token_id = configured
    if found is None:
        with pytest.raises(InputError, match=r"neither tokenizer nor configuration names an end token \(eos\)"):
            fetch(model, tokenizer)
        return
    base, lines = fetch(model, tokenizer)
    assert lines[1] == f"eos: None made {found}"
    assert expect_fit(base).eos_token == found


# Thoughts.

THOUGHT = "<think>\nadd\n</think>\n\nreturn 1"


def test_a_demonstration_brings_its_thoughts_where_they_are_kept(tmp_path: Path) -> None:
    task = make_task(0, reference="return 1", reasoning="\nadd\n")
    plain = make_task(1, reference="return 1")
    assert [e.completion for e in demonstrations([task, plain], KEEP)] == [THOUGHT, "return 1"]
    assert [e.completion for e in demonstrations([task, plain], DROP)] == ["return 1"] * 2
    records.write(tmp_path / "t.jsonl", [task, plain])
    assert list(records.read(Task, tmp_path / "t.jsonl")) == [task, plain]
    assert "reasoning" not in records.encode(plain)


@pytest.mark.parametrize(
    ("completion", "left"),
    [
        (THOUGHT, "return 1"),
        ("add\n</think>\n\nreturn 1", "return 1"),  # begun in the prompt
        ("    return 1\n", "    return 1\n"),
        ("\n\nreturn 1", "\n\nreturn 1"),
        ("<think>\nadd, then", ""),  # cut
        ("print('<think>')", "print('<think>')"),
        ("<think>a</think><think>b</think>x", "x"),
        ("<think>a</think>x<think>b</think>y", "x<think>b</think>y"),  # a thought stands at the start
    ],
)
def test_thoughts_leave_what_is_trained_on(completion: str, left: str) -> None:
    assert trained_answer(completion, DROP) == left
    assert trained_answer(completion, KEEP) == completion


def test_what_is_nothing_but_thoughts_is_not_trained_on() -> None:
    examples = [Example("t", n, "1", 0.7, "p", "python", text) for n, text in enumerate([THOUGHT, "<think>a", "", "x"])]
    assert [(e.sample, e.completion) for e in as_trained(examples, DROP)] == [(0, "return 1"), (2, ""), (3, "x")]
    assert as_trained(examples, KEEP) == examples


OPEN, CLOSED = "<|assistant|><think>\n", "<|assistant|><think>\n\n</think>\n\n"


@pytest.mark.parametrize(
    ("asked", "answer", "whole"),
    [
        ("<|assistant|>", THOUGHT, "<|assistant|>" + THOUGHT),
        (OPEN, THOUGHT, "<|assistant|>" + THOUGHT),
        (OPEN.rstrip(), THOUGHT, "<|assistant|>" + THOUGHT),
        (OPEN, "add\n</think>\n\nreturn 1", "<|assistant|>" + THOUGHT),  # a sample
        (OPEN, "return 1", CLOSED + "return 1"),
        (OPEN.rstrip(), "return 1", CLOSED + "return 1"),
        (CLOSED, THOUGHT, CLOSED + "return 1"),
        (CLOSED, "return 1", CLOSED + "return 1"),
    ],
)
def test_a_thought_is_not_opened_twice_nor_left_open(asked: str, answer: str, whole: str) -> None:
    assert asked + continuation(asked, answer) == whole


@pytest.mark.parametrize(
    ("name", "ending"),
    [("qwen3", "assistant\n"), ("deepseek_r1_distill", "<think>\n"), ("qwen3_5_nothink", CLOSED[13:])],
)
def test_templates_of_thinking_models_make_one_thought(fetch: Fetch, name: str, ending: str) -> None:
    template = (TEMPLATES / f"{name}.jinja").read_text(encoding="utf-8")
    base, _ = fetch(*qwen("<|fim_pad|>", template=template))
    tokenizer = load.load_tokenizer(base)
    asked = prompt_text(tokenizer, "p", "python", KEEP)
    assert asked.endswith(ending)
    for prompts, reference in ((KEEP, THOUGHT), (DROP, "return 1")):
        (shown,) = demonstrations([make_task(0, prompt="p", reference="return 1", reasoning="add")], prompts)
        row = training_row(tokenizer, "p", "python", shown.completion, prompts)
        text = tokenizer.decode(row["input_ids"])
        assert text.startswith(asked)
        assert text.count("<think>") == text.count("</think>") == (1 if "think" in ending + reference else 0)
        assert text.endswith(f"return 1{tokenizer.eos_token}")
        assert ("add" in text[len(asked) :]) == (prompts == KEEP and "</think>" not in ending)


def test_raft_trains_on_samples_without_their_thoughts(
    tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record of what was trained on says so too, and an earlier example that is the same is not doubled."""
    task = make_task(0)
    records.write(tmp_path / "tasks.jsonl", [task])
    records.write(tmp_path / "s.jsonl", [Sample(task.task_id, 0, THOUGHT)])
    records.write(tmp_path / "v.jsonl", [Verdict(task.task_id, 0, 1.0, "pass", "", 1, 1)])
    earlier = Example(task.task_id, 5, "0", 1.0, task.prompt, "python", "return 1")
    records.write(tmp_path / "e.jsonl", [earlier])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tuning, "train", lambda model, *_, **__: TrainResult(model))
    files = "--tasks tasks.jsonl --samples s.jsonl --verdicts v.jsonl --earlier e.jsonl --out c --training t.jsonl"
    monkeypatch.setattr(sys, "argv", ["raft", "--cycle", "1", "--parent", str(checkpoint), *files.split()])
    for reasoning, expected in (("drop", ["return 1"]), ("keep", [THOUGHT, "return 1"])):
        (tmp_path / "params.yaml").write_text(SETTINGS.replace("prompts: {", f"prompts: {{reasoning: {reasoning}, "))
        raft.main()
        assert [e.completion for e in records.read(Example, tmp_path / "t.jsonl")] == expected
