"""Generation by an ensemble: next token by averaged logits, one part of the cache a member."""

from concurrent.futures import ThreadPoolExecutor, wait
from inspect import signature

import peft
import pytest
import torch
from packaging.version import Version
from peft import get_peft_model
from transformers import (
    Blip2Config,
    Blip2ForConditionalGeneration,
    DynamicCache,
    FSMTConfig,
    FSMTForConditionalGeneration,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlavaConfig,
    LlavaForConditionalGeneration,
    MambaConfig,
    MambaForCausalLM,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    RecurrentGemmaConfig,
    RecurrentGemmaForCausalLM,
    RwkvConfig,
    RwkvForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
    XLNetConfig,
    XLNetLMHeadModel,
)
from transformers.integrations.peft import MIN_PEFT_VERSION

from lora_dropout import Ensemble, members
from lora_dropout.injection import adapted_layers
from lora_dropout.peft import ensemble_generation
from lora_dropout.peft.generation import IMAGES, generating
from tests.lora_dropout.peft.models import (
    SIZES,
    TOKENS,
    WORDS,
    adapted,
    batch,
    lora,
    made,
    mixtral,
    randomize,
)

NEW, BEAMS = 4, 3
#: Texts of one length: none ends before.
FULL = {"max_new_tokens": NEW, "eos_token_id": None, "pad_token_id": 0, "do_sample": False}


def prompt():
    inputs = batch(rows=2, causal=True)
    inputs["attention_mask"][0, :2] = 0
    return {name: inputs[name] for name in ("input_ids", "attention_mask")}


def likeliest(logits):
    return logits.argmax(-1, keepdim=True)


def sampled(logits):
    return torch.multinomial(logits.softmax(-1), 1)


def next_logits(model, inputs, new, size, average="logits", **named):
    """Averaged logits of the next word: all members run over the whole text, without a cache."""
    if model.config.is_encoder_decoder:
        start = torch.zeros(len(new), 1, dtype=torch.long)
        told = inputs | {"decoder_input_ids": torch.cat([start, new], 1)}
    else:
        mask = torch.cat([inputs["attention_mask"], torch.ones_like(new)], 1)
        told = {"input_ids": torch.cat([inputs["input_ids"], new], 1), "attention_mask": mask}
        if model.config.model_type != "mamba":
            told["position_ids"] = (mask.cumsum(-1) - 1).clamp(min=0)
    ensemble = Ensemble(model, size, lambda result: result.logits, average)
    with torch.no_grad():
        return ensemble(**told, use_cache=False, **named)[:, -1]


def by_hand(model, inputs, size, choose=likeliest, average="logits", **named):
    """Choose one word after the other."""
    new = torch.zeros(len(inputs["input_ids"]), 0, dtype=torch.long)
    for _ in range(NEW):
        logits = next_logits(model, inputs, new, size, average, **named)
        new = torch.cat([new, choose(logits)], 1)
    return torch.cat([inputs["input_ids"], new], 1)


def beams_by_hand(model, inputs, size, average="logits", names=None):
    """The texts that are likeliest of those that were kept so far, row by row."""
    found = []
    for row in range(len(inputs["input_ids"])):
        new, scores = torch.zeros(1, 0, dtype=torch.long), torch.zeros(1, 1)
        for _ in range(NEW):
            told = {name: value[[row] * len(new)] for name, value in inputs.items()}
            named = {} if names is None else {"adapter_names": [names[row]] * len(new)}
            logits = next_logits(model, told, new, size, average, **named)
            best, place = (scores + logits.log_softmax(-1)).flatten().topk(BEAMS)
            new = torch.cat([new[place // WORDS], (place % WORDS)[:, None]], 1)
            scores = best[:, None]
        found.append(new)
    return torch.cat(found)


def beams(model, inputs, size, average="logits", **named):
    """The same by transformers' search, with a cache; the words that are new."""
    with ensemble_generation(model, size, average):
        found = model.generate(
            **inputs, **FULL, num_beams=BEAMS, num_return_sequences=BEAMS, **named
        )
    return found[:, -NEW:]


@pytest.mark.parametrize("size", [1, 3])
def test_greedy_search_follows_the_averaged_logits(size):
    model = adapted("llama", p=0.5).eval()
    expected = by_hand(model, prompt(), size)
    with ensemble_generation(model, size):
        found = model.generate(**prompt(), max_new_tokens=NEW, do_sample=False, pad_token_id=0)
    assert found.tolist() == expected.tolist()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_model_that_is_compiled_generates_by_the_ensemble():
    """Groups were compared with members within the compiled pass, which took minutes."""
    model = adapted("llama", p=0.5).eval()
    expected = by_hand(model, prompt(), 3)
    model.get_base_model().compile(backend="eager")
    with ensemble_generation(model, 3):
        found = model.generate(**prompt(), **FULL)
    assert found.tolist() == expected.tolist()


def test_members_matter():
    """Otherwise the test above would hold without any masks."""
    model = adapted("llama", p=0.5).eval()
    texts = {tuple(by_hand(model, prompt(), size)[1].tolist()) for size in range(1, 7)}
    assert len(texts) > 1


def test_sampling_draws_one_text_for_all_members():
    model = adapted("llama", p=0.5).eval()
    torch.manual_seed(0)
    expected = by_hand(model, prompt(), 3, sampled)
    torch.manual_seed(0)
    with ensemble_generation(model, 3):
        found = model.generate(**prompt(), max_new_tokens=NEW, do_sample=True, pad_token_id=0)
    assert found.tolist() == expected.tolist() != by_hand(model, prompt(), 3).tolist()


def test_afterwards_the_model_is_as_before():
    model = adapted("llama", p=0.5).eval()
    inputs = batch(causal=True)
    with torch.no_grad():
        before = model(**inputs).logits
        with ensemble_generation(model, 3):
            model.generate(**prompt(), max_new_tokens=2, do_sample=False, pad_token_id=0)
        torch.testing.assert_close(model(**inputs).logits, before, rtol=0, atol=0)
    assert [number for number in members(model, 2)] == [0, 1]


@pytest.mark.parametrize("size", [0, -1])
def test_sizes_below_1_are_refused(size):
    with pytest.raises(ValueError, match="at least 1"), ensemble_generation(adapted("llama"), size):
        pass


def test_a_loss_is_refused_as_it_would_be_the_members_and_not_the_averages():
    model = adapted("llama", p=0.5).eval()
    with pytest.raises(ValueError, match="computes no loss"), ensemble_generation(model, 2):
        model(**prompt(), labels=prompt()["input_ids"])


def test_another_adapter_set_meanwhile_is_an_ensemble_too():
    model = adapted("llama", p=0.5).eval()
    model.add_adapter("other", lora(["q_proj"], "CAUSAL_LM", p=0.5, mask_seed=4))
    randomize(model)
    model.set_adapter("other")
    expected = by_hand(model, prompt(), 3)
    model.set_adapter("default")
    with ensemble_generation(model, 3):
        model.set_adapter("other")
        found = model.generate(**prompt(), max_new_tokens=NEW, do_sample=False, pad_token_id=0)
    assert found.tolist() == expected.tolist()
    assert {masks.inference for _, masks in adapted_layers(model)} == {"expected weight"}


def t5():
    config = T5Config(
        vocab_size=WORDS, d_model=16, d_kv=8, d_ff=24, num_layers=1, num_heads=2,
        decoder_start_token_id=0, dropout_rate=0.0,
    )  # fmt: skip
    model = made(T5ForConditionalGeneration, config)
    return randomize(get_peft_model(model, lora(["q", "v"], "SEQ_2_SEQ_LM", p=0.5))).eval()


def fsmt():
    """Its tokens come before its rows: groups of the first dimension are parts of a text."""
    config = FSMTConfig(
        langs=["en", "de"], src_vocab_size=WORDS, tgt_vocab_size=WORDS, d_model=16,
        encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=16, decoder_ffn_dim=16, max_position_embeddings=32, dropout=0.0,
        attention_dropout=0.0, decoder_start_token_id=0, forced_eos_token_id=None, num_beams=1,
    )  # fmt: skip
    model = made(FSMTForConditionalGeneration, config)
    settings = lora(["q_proj", "v_proj", "fc1"], "SEQ_2_SEQ_LM", p=0.5)
    return randomize(get_peft_model(model, settings)).eval()


def xlnet():
    """Its tokens come before its rows, too, and here are as many as the members."""
    config = XLNetConfig(vocab_size=WORDS, d_model=16, n_layer=1, n_head=2, d_inner=16)
    settings = lora(["layer_1"], "CAUSAL_LM", p=0.5)
    return randomize(get_peft_model(made(XLNetLMHeadModel, config), settings)).eval()


def gpt2():
    config = GPT2Config(vocab_size=WORDS, n_embd=16, n_layer=2, n_head=2, n_positions=32)
    settings = lora(["c_attn", "c_fc"], "CAUSAL_LM", p=0.5, fan_in_fan_out=True)
    return randomize(get_peft_model(made(GPT2LMHeadModel, config), settings)).eval()


def llama(**settings):
    return adapted("llama", p=0.5, **settings).eval()


def mamba():
    config = MambaConfig(vocab_size=WORDS, hidden_size=16, num_hidden_layers=2, state_size=4)
    settings = lora(["in_proj", "x_proj"], "CAUSAL_LM", p=0.5)
    return randomize(get_peft_model(made(MambaForCausalLM, config), settings)).eval()


def experts():
    targets = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]
    settings = lora(["q_proj"], "CAUSAL_LM", p=0.5, target_parameters=targets)
    return randomize(get_peft_model(mixtral(), settings)).eval()


def dora():
    return llama(use_dora=True)


def qwen_vl():
    """Its positions are those along the text, and those of images in time, height and width."""
    text = SIZES | {
        "num_key_value_heads": 2, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
        "rope_parameters": {
            "rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 1, 1],
        },
    }  # fmt: skip
    vision = {"depth": 1, "embed_dim": 16, "num_heads": 2, "hidden_size": 16, "mlp_ratio": 1}
    config = Qwen2VLConfig(text_config=text, vision_config=vision)
    settings = lora(["q_proj", "v_proj", "up_proj"], "CAUSAL_LM", p=0.5)
    model = made(Qwen2VLForConditionalGeneration, config)
    return randomize(get_peft_model(model, settings)).eval()


def unpadded():
    return prompt() | {"attention_mask": torch.ones_like(prompt()["attention_mask"])}


def with_adapter(model, settings):
    """A model of transformers that carries its adapter itself."""
    if Version(peft.__version__) < Version(MIN_PEFT_VERSION):
        pytest.skip(f"transformers carries adapters with PEFT {MIN_PEFT_VERSION} or newer alone")
    model.add_adapter(settings)
    return model


#: Members are groups of one batch in the first four, and take passes in the last two.
GENERATING = (gpt2, llama, t5, mamba, experts, dora)


@pytest.mark.parametrize("build", GENERATING)
def test_beams_are_those_of_the_averaged_logits(build):
    model = build()
    inputs = unpadded() if build is mamba else prompt()
    found = beams(model, inputs, 3)
    assert found.tolist() == beams_by_hand(model, inputs, 3).tolist()
    # Otherwise the cache, or the ensemble, would not have mattered.
    assert found.tolist() != beams_by_hand(model, inputs, 1).tolist()
    assert len({tuple(text[:-1]) for text in found.tolist()}) > 1


@pytest.mark.parametrize("build", [t5, fsmt, experts, dora])
def test_greedy_search_follows_the_averaged_logits_of_other_models_too(build):
    """Of members with encoders of their own, and of those that take a pass each."""
    model = build()
    with ensemble_generation(model, 3):
        found = model.generate(**prompt(), **FULL)
    assert found[:, -NEW:].tolist() == by_hand(model, prompt(), 3)[:, -NEW:].tolist()


@pytest.mark.parametrize("rows", [1, 2])
def test_rows_of_positions_are_found_behind_their_kinds(rows):
    """One text has four rows of positions, of which three members would take one each."""
    model, inputs = qwen_vl(), {name: value[:rows] for name, value in unpadded().items()}
    with ensemble_generation(model, 3):
        found = model.generate(**inputs, **FULL)
    assert found.tolist() == by_hand(model, inputs, 3).tolist()


@pytest.mark.parametrize("build", [t5, fsmt, xlnet, experts])
def test_within_the_block_a_call_gives_averaged_logits(build):
    model, inputs = build(), prompt()
    told = inputs | ({"decoder_input_ids": inputs["input_ids"]} if build in (t5, fsmt) else {})
    with torch.no_grad():
        with ensemble_generation(model, 3):
            called = model(**told).logits
        expected = Ensemble(model, 3, lambda result: result.logits)(**told)
    torch.testing.assert_close(called, expected)


@pytest.mark.parametrize("build", [t5, fsmt])
def test_what_an_encoder_told_is_that_of_the_members(build):
    """Rows of another encoding would be taken for members, and examples for each other's."""
    model, inputs = build(), prompt()
    encoder = model.get_base_model().get_encoder()
    rows = len(inputs["input_ids"])
    outside = encoder(**inputs)
    with ensemble_generation(model, 3), torch.no_grad():
        within = model.generate(encoder_outputs=encoder(**inputs), **inputs, **FULL)
        with pytest.raises(ValueError, match="takes no encoder_outputs from elsewhere"):
            model.generate(encoder_outputs=outside, **inputs, **FULL)
    assert len(within) == rows
    assert within[:, -NEW:].tolist() == by_hand(model, inputs, 3)[:, -NEW:].tolist()


def gemma():
    config = Gemma2Config(**SIZES, num_key_value_heads=2, head_dim=8, sliding_window=3)
    settings = lora(["q_proj", "v_proj"], "CAUSAL_LM", p=0.5)
    return randomize(get_peft_model(made(Gemma2ForCausalLM, config), settings)).eval()


@pytest.mark.parametrize("build", [llama, gemma])
def test_a_cache_of_a_fixed_size_gives_the_same_words(build):
    """With it come masks that are made before: of the second model one a kind of attention."""
    model = build()
    with ensemble_generation(model, 3):
        found = model.generate(**prompt(), **FULL, cache_implementation="static")
    assert found.tolist() == by_hand(model, prompt(), 3).tolist()
    found = beams(model, prompt(), 3, cache_implementation="static")
    assert found.tolist() == beams(model, prompt(), 3).tolist()


@pytest.mark.parametrize("build", [llama, t5, experts])
def test_averaged_probabilities_choose_too(build):
    model = build()
    with ensemble_generation(model, 3, "probabilities"):
        found = model.generate(**prompt(), **FULL)
    expected = by_hand(model, prompt(), 3, average="probabilities")
    assert found[:, -NEW:].tolist() == expected[:, -NEW:].tolist()
    found = beams(model, prompt(), 3, "probabilities")
    assert found.tolist() == beams_by_hand(model, prompt(), 3, "probabilities").tolist()


@pytest.mark.parametrize(("build", "cached"), [(llama, True), (llama, False), (experts, True)])
def test_guidance_combines_the_averages_of_both_prompts(build, cached):
    """Sanchez et al. 2023, arXiv 2306.17806, Eq. 7; the prompt to move away from has its cache."""
    model, inputs, scale = build(), unpadded(), 1.7
    away = {name: value[:, :3].contiguous() for name, value in inputs.items()}
    with ensemble_generation(model, 3):
        found = model.generate(
            **inputs, **FULL, guidance_scale=scale, use_cache=cached,
            negative_prompt_ids=away["input_ids"],
            negative_prompt_attention_mask=away["attention_mask"],
        )  # fmt: skip
    new = torch.zeros(2, 0, dtype=torch.long)
    for _ in range(NEW):
        to, off = (
            next_logits(model, prompted, new, 3).log_softmax(-1) for prompted in (inputs, away)
        )
        new = torch.cat([new, likeliest(off + scale * (to - off))], 1)
    assert found[:, -NEW:].tolist() == new.tolist() != by_hand(model, inputs, 3)[:, -NEW:].tolist()


def test_rows_of_a_batch_name_their_adapters():
    model = llama()
    model.add_adapter("other", lora(["q_proj", "down_proj"], "CAUSAL_LM", p=0.5, mask_seed=4))
    randomize(model).eval()
    names, inputs = ["default", "other"], prompt()
    with ensemble_generation(model, 3):
        found = model.generate(**inputs, **FULL, adapter_names=names)
    rows = [
        by_hand(
            model, {key: value[[row]] for key, value in inputs.items()}, 3, adapter_names=[name]
        )
        for row, name in enumerate(names)
    ]
    assert found.tolist() == torch.cat(rows).tolist()
    expected = beams_by_hand(model, inputs, 3, names=names)
    assert beams(model, inputs, 3, adapter_names=names).tolist() == expected.tolist()
    assert expected[BEAMS:].tolist() != beams_by_hand(model, inputs, 3)[BEAMS:].tolist()


def test_another_thread_generates_by_the_model_itself():
    model = llama()
    right = model.generate(**prompt(), **FULL)
    with ThreadPoolExecutor(1) as pool:
        with ensemble_generation(model, 3):
            # What a thread calls is chosen before it waits.
            found = pool.submit(lambda: model.generate(**prompt(), **FULL))
            assert not wait([found], timeout=0.2).done
            assert model.generate(**prompt(), **FULL).tolist() != right.tolist()
        assert found.result().tolist() == right.tolist()


def test_a_thread_that_would_wait_for_ever_is_refused():
    model = llama()
    with ensemble_generation(model, 2), pytest.raises(ValueError, match="a thread of its own"):
        model.generate_batch([[1, 2, 3]])
    assert "init_continuous_batching" not in vars(model.get_base_model())


@pytest.mark.parametrize("build", [llama, dora, t5])
@pytest.mark.parametrize("beside", ["output_hidden_states", "output_attentions"])
def test_what_each_member_says_for_itself_is_refused(build, beside):
    """It was that of the first member, or of all of them in the place of the rows."""
    model = build()
    told = FULL | {beside: True, "return_dict_in_generate": True}
    with ensemble_generation(model, 2), pytest.raises(ValueError, match=f"leave out {beside}"):
        model.generate(**prompt(), **told)
    with ensemble_generation(model, 1):
        model.generate(**prompt(), **told)


def test_an_adapter_that_is_added_within_an_ensemble_is_refused():
    model = llama()
    with ensemble_generation(model, 3), pytest.raises(ValueError, match="add it before"):
        model.add_adapter("late", lora(["q_proj"], "CAUSAL_LM"))


@pytest.mark.parametrize("within", [ensemble_generation, generating])
@pytest.mark.parametrize("adapt", [get_peft_model, with_adapter])
def test_beams_of_a_model_that_reorders_its_cache_by_itself_are_refused(adapt, within):
    config = XLNetConfig(vocab_size=WORDS, d_model=16, n_layer=1, n_head=2, d_inner=16)
    settings = lora(["layer_1"], "CAUSAL_LM", p=0.5)
    model = adapt(made(XLNetLMHeadModel, config), settings).eval()
    with pytest.raises(ValueError, match="no beams of XLNetLMHeadModel"), within(model, 2):
        model.generate(**prompt(), **FULL, num_beams=2)
    assert "generate" not in vars(model)


class Stuck(DynamicCache):
    """As an offloaded cache, which holds a stream of its device."""

    def __deepcopy__(self, memo):
        raise TypeError("cannot pickle 'torch.Stream' object")


def name_of_cache(model):
    """What the model's forward pass calls its cache: "cache" from transformers 5.24 on."""
    taken = signature(model.get_base_model().forward).parameters
    return "cache" if "cache" in taken else "past_key_values"


@pytest.mark.parametrize("build", [llama, experts])
def test_a_cache_that_cannot_be_copied_is_refused(build):
    model = build()
    with (
        pytest.raises(ValueError, match="no cache that cannot be copied"),
        ensemble_generation(model, 2),
    ):
        model.generate(**prompt(), **FULL, **{name_of_cache(model): Stuck()})


@pytest.mark.parametrize("build", [llama, experts])
def test_a_cache_of_another_network_is_refused(build):
    model = build()
    cache = model(**prompt(), use_cache=True).past_key_values
    told = {"input_ids": prompt()["input_ids"][:, -1:], "past_key_values": cache}
    with pytest.raises(ValueError, match="no cache from elsewhere"), ensemble_generation(model, 2):
        model(**told)


def test_states_that_modules_hold_are_a_member_s_own():
    """DoRA's members take a pass each, of which the next one would read the states."""
    config = RecurrentGemmaConfig(
        **SIZES, num_key_value_heads=1, lru_width=16, block_types=["recurrent", "attention"]
    )
    base = made(RecurrentGemmaForCausalLM, config)
    model = get_peft_model(base, lora(["q_proj", "linear_x"], "CAUSAL_LM", p=0.5, use_dora=True))
    model, told = randomize(model).eval(), {"output_logits": True, "return_dict_in_generate": True}
    inputs = {name: value for name, value in batch(causal=True).items() if name != "labels"}
    with ensemble_generation(model, 3):
        found = model.generate(**inputs, **FULL, **told)
    for place, logits in enumerate(found.logits):
        new = found.sequences[:, TOKENS : TOKENS + place]
        torch.testing.assert_close(logits, next_logits(model, inputs, new, 3))


def test_what_a_model_remembers_in_its_own_way_is_refused_where_members_pass_apart():
    sizes = {"attention_hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
    base = made(RwkvForCausalLM, RwkvConfig(vocab_size=WORDS, hidden_size=16, **sizes))
    model = get_peft_model(base, lora(["key", "value"], "CAUSAL_LM", p=0.5, use_dora=True))
    model, ids = randomize(model).eval(), batch(causal=True)["input_ids"]
    with ensemble_generation(model, 2):
        with pytest.raises(ValueError, match="use_cache=False"):
            model.generate(ids, **FULL)
        assert model.generate(ids, **FULL, use_cache=False).shape == (len(ids), TOKENS + NEW)


def test_what_generates_nothing_is_refused():
    with pytest.raises(ValueError, match="generates nothing"), ensemble_generation(adapted(), 2):
        pass


VISION = {**{k: v for k, v in SIZES.items() if k != "vocab_size"}, "image_size": 8, "patch_size": 4}
SPOT = WORDS - 1  # Where an image is in a text.


def of_images(targets):
    """A model that reads an image of four patches before a text, and its inputs."""
    config = LlavaConfig(
        vision_config={"model_type": "clip_vision_model", **VISION}, vision_feature_layer=-1,
        text_config={"model_type": "llama", **SIZES}, image_token_id=SPOT,
    )  # fmt: skip
    model = get_peft_model(made(LlavaForConditionalGeneration, config), lora(targets, None, p=0.5))
    words = torch.cat([torch.full((2, 4), SPOT), prompt()["input_ids"] % SPOT], 1)
    images = torch.randn(2, 3, 8, 8)
    told = {"attention_mask": torch.ones_like(words), "pixel_values": images}
    return randomize(model).eval(), {"input_ids": words} | told


@pytest.mark.parametrize("targets", [["q_proj", "v_proj"], ["up_proj"]])
def test_members_look_at_images_themselves_where_that_is_adapted(targets):
    """transformers looks once, before the first pass."""
    model, inputs = of_images(targets)
    known, words = dict(inputs), inputs["input_ids"]
    ensemble = Ensemble(model, 3, output=lambda result: result.logits)
    with torch.no_grad():
        for _ in range(NEW):
            logits = ensemble(**known)[:, -1]
            logits[:, SPOT] = -torch.inf
            words = torch.cat([words, likeliest(logits)], 1)
            known |= {"input_ids": words, "attention_mask": torch.ones_like(words)}
    with ensemble_generation(model, 3):
        found = model.generate(**inputs, **FULL, suppress_tokens=[SPOT])
    assert found.tolist() == words.tolist()


@pytest.mark.skipif(
    not hasattr(LlavaForConditionalGeneration, IMAGES),
    reason="this transformers looks at images within the first pass",
)
def test_beams_of_images_that_members_see_otherwise_are_refused():
    model, inputs = of_images(["q_proj"])
    with pytest.raises(ValueError, match="no beams"), ensemble_generation(model, 2):
        model.generate(**inputs, **FULL, num_beams=2)


def test_a_model_that_generates_by_a_part_of_it_is_refused():
    """As nothing would be averaged."""
    config = Blip2Config(
        vision_config=VISION, num_query_tokens=2, image_token_index=SPOT,
        qformer_config={**SIZES, "encoder_hidden_size": 16, "cross_attention_frequency": 1},
        text_config={"model_type": "llama", **SIZES},
    )  # fmt: skip
    model = get_peft_model(
        made(Blip2ForConditionalGeneration, config), lora(["v_proj"], None, p=0.5)
    )
    words = torch.cat([torch.full((2, 2), SPOT), prompt()["input_ids"] % SPOT], 1)
    told = {"input_ids": words, "pixel_values": torch.randn(2, 3, 8, 8)}
    message = "Blip2ForConditionalGeneration generates by passes of a part of it"
    with pytest.raises(ValueError, match=message), ensemble_generation(model.eval(), 2):
        model.generate(**told, **FULL)
