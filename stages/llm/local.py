"""Backend `local`: the profile's base model, through the sampler. The one module of this room that imports torch."""

from pathlib import Path

from stages.common.api import Failure
from stages.common.files import value_hash
from stages.common.records import Task
from stages.llm.backends import Messages, Reply
from stages.lm import devices, load
from stages.lm.chat import prompt_ids
from stages.lm.sampling import Sampler
from stages.settings.compute import ComputeSettings
from stages.settings.generate import GenerateSettings
from stages.settings.prompts import PromptSettings
from stages.settings.sampling import SampleSettings


class Local:
    """Samples one answer per prompt, `concurrency` prompts in a batch. The model is loaded when it is first asked."""

    def __init__(self, checkpoint: Path, settings: GenerateSettings, compute: ComputeSettings, seed: int) -> None:
        load.expect_checkpoint(checkpoint)
        self.checkpoint, self.compute, self.seed = checkpoint, compute, seed
        self.batch = settings.concurrency
        temperature = 1.0 if settings.temperature is None else settings.temperature
        self.settings = SampleSettings(
            n=1, temperature=temperature, max_new_tokens=settings.max_tokens, shard=self.batch, batch=self.batch
        )
        self._samplers: dict[str, Sampler] = {}

    def origin(self) -> list[str]:
        """What tells these weights from others, for the keys of questions."""
        return [*load.origin(self.checkpoint, self.compute), str(self.seed)]

    def ask(self, prompts: list[Messages]) -> list[Reply]:
        """Answers in order. Failure for a prompt that the model's context does not hold."""
        system = prompts[0][0]["content"]
        sampler = self._sampler(system)
        tasks = [Task(f"prompt {n}", "", p[-1]["content"], "", None, "", []) for n, p in enumerate(prompts, 1)]
        # The seed is that of the prompts, so that a run which was killed draws what an unbroken one draws.
        sampler.stream = f"generate/{value_hash(prompts)}"
        tokenizer, most = sampler.tokenizer, self.settings.max_new_tokens
        for task in tasks:
            length = len(prompt_ids(tokenizer, task.prompt, task.language, sampler.prompts))
            if sampler.room(length) < most:  # an answer that is cut short is no example
                told = f"{task.task_id}: its {length} tokens and max_tokens of {most} exceed the model's context of "
                told += f"{sampler.model.config.max_position_embeddings} tokens"
                raise Failure("refused_request", told, free=True, lasting=True)
        drawn = sampler.sample_shard(tasks, 0)
        lengths = [len(tokenizer(task.prompt, add_special_tokens=False)["input_ids"]) for task in tasks]
        return [
            Reply(sample.completion, sample.finish_reason, length, sample.tokens)
            for sample, length in zip(drawn, lengths, strict=True)
        ]

    def _sampler(self, system: str) -> Sampler:
        if system not in self._samplers:
            prompts = PromptSettings(system={"default": system})
            sampler = Sampler(self.checkpoint, self.settings, prompts, self.compute, self.seed, "generate")
            devices.use_threads(self.compute.threads)
            sampler.load()
            self._samplers[system] = sampler
        return self._samplers[system]
