"""Loading a tower from a folder, preparing pictures for it, and its patch features."""

import pytest
import torch
from PIL import Image
from tiny import tiny_config, tower_fields
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPVisionConfig,
    CLIPVisionModel,
    Siglip2Config,
    SiglipConfig,
    SiglipModel,
)
from transformers.models.siglip import SiglipImageProcessorPil

from sightline.image_processing import default_image_processor
from sightline.nn.vision import build_tower, get_image_embeddings, get_vision_model, image2tensor

TEXT = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 50}
SQUARE = {"size": {"height": 32, "width": 32}, "do_center_crop": False}


def clip_config():
    vision = CLIPVisionConfig(**{k: v for k, v in tower_fields().items() if k != "model_type"})
    return CLIPConfig(vision_config=vision.to_dict(), text_config=TEXT, projection_dim=8)


def siglip_config():
    vision = {k: v for k, v in tower_fields().items() if k != "model_type"}
    return SiglipConfig(vision_config=vision, text_config=TEXT)


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    CLIPModel(clip_config()).save_pretrained(folder)
    CLIPImageProcessorPil(**SQUARE).save_pretrained(folder)
    return folder


def siglip_folder(tmp_path):
    SiglipModel(siglip_config()).save_pretrained(tmp_path)
    SiglipImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    return tmp_path


def test_a_clip_folder_gives_the_whole_model_frozen_and_its_processor(clip_folder):
    tower, processor = get_vision_model(clip_folder)
    assert isinstance(tower, CLIPModel)
    assert hasattr(tower, "text_model")
    assert not tower.training
    assert not any(parameter.requires_grad for parameter in tower.parameters())
    assert image2tensor(Image.new("RGB", (50, 20)), processor).shape == (1, 3, 32, 32)


def test_a_siglip_folder_loads(tmp_path):
    tower, processor = get_vision_model(siglip_folder(tmp_path))
    assert isinstance(tower, SiglipModel)
    pixels = image2tensor(Image.new("RGB", (50, 20), "white"), processor)
    assert pixels.max() == 1.0  # SigLIP's own normalisation
    assert get_image_embeddings(pixels, tower).shape == (1, 16, 16)


def test_a_vision_only_folder_loads_its_weights(tmp_path, clip_folder):
    whole, _ = get_vision_model(clip_folder)
    vision = CLIPVisionModel.from_pretrained(clip_folder)
    vision.save_pretrained(tmp_path)
    CLIPImageProcessorPil(**SQUARE).save_pretrained(tmp_path)
    tower, _ = get_vision_model(tmp_path)
    assert isinstance(tower, CLIPModel)
    pixels = torch.randn(1, 3, 32, 32)
    torch.testing.assert_close(get_image_embeddings(pixels, tower), get_image_embeddings(pixels, whole))


@pytest.mark.parametrize("kind", [CLIPModel, CLIPVisionModel])
def test_a_tower_that_lacks_a_weight_is_not_made_up(tmp_path, clip_folder, kind):
    model = kind.from_pretrained(clip_folder)
    lacking = {name: weight for name, weight in model.state_dict().items() if "fc1" not in name or "text_" in name}
    model.save_pretrained(tmp_path, state_dict=lacking)
    CLIPImageProcessorPil(**SQUARE).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"the vision tower .* lacks the weight .*fc1"):
        get_vision_model(tmp_path)


def test_a_tokenizer_that_needs_one_more_package_is_not_needed(tmp_path, monkeypatch):
    siglip_folder(tmp_path)

    def needs_sentencepiece(*args, **options):
        raise ImportError("SiglipTokenizer requires the SentencePiece library")

    monkeypatch.setattr("transformers.AutoProcessor.from_pretrained", needs_sentencepiece)
    _, processor = get_vision_model(tmp_path)
    assert isinstance(processor, SiglipImageProcessorPil)


def test_a_tower_in_half_precision_is_read_as_the_model_around_it(tmp_path, clip_folder):
    CLIPModel.from_pretrained(clip_folder).to(torch.bfloat16).save_pretrained(tmp_path)
    CLIPImageProcessorPil(**SQUARE).save_pretrained(tmp_path)
    tower, _ = get_vision_model(tmp_path)
    assert {weight.dtype for weight in tower.parameters()} == {torch.float32}


@pytest.mark.parametrize("layer", [-5, 4, 99])
def test_a_block_that_is_not_there_is_refused(clip_folder, layer):
    tower, _ = get_vision_model(clip_folder)
    with pytest.raises(ValueError, match=f"there is no layer {layer}: the tower has"):
        get_image_embeddings(torch.zeros(1, 3, 32, 32), tower, layer)


def test_the_naflex_siglip2_is_refused_by_name(tmp_path):
    Siglip2Config().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="holds a 'siglip2' model, but a tower is one of clip, siglip"):
        get_vision_model(tmp_path)


def test_a_vision_config_of_another_family_is_refused():
    config = tiny_config().vision_config
    config.model_type = "dinov2"
    with pytest.raises(ValueError, match="vision_config is a 'dinov2'; a tower is one of"):
        build_tower(config)


def test_a_tower_is_a_clip_model_without_its_text_half():
    tower = build_tower(tiny_config().vision_config)
    assert isinstance(tower, CLIPModel)
    assert all(name.startswith("vision_model.") for name in tower.state_dict())


@pytest.mark.parametrize("layer", [-1, -2, -3, 0, 2])
@pytest.mark.parametrize("make", [lambda: CLIPModel(clip_config()), lambda: SiglipModel(siglip_config())])
def test_features_are_transformers_hidden_states_of_the_layer(make, layer):
    tower, pixels = make().eval(), torch.randn(2, 3, 32, 32)
    states = tower.vision_model(pixels, output_hidden_states=True).hidden_states[layer]
    expected = states[:, 1:] if isinstance(tower, CLIPModel) else states
    torch.testing.assert_close(get_image_embeddings(pixels, tower, layer), expected)


def test_features_of_the_last_clip_layer_are_last_hidden_state_without_cls():
    tower, pixels = CLIPModel(clip_config()).eval(), torch.randn(1, 3, 32, 32)
    torch.testing.assert_close(get_image_embeddings(pixels, tower), tower.vision_model(pixels).last_hidden_state[:, 1:])


@pytest.mark.parametrize("leading", [(), (2,), (2, 3)])
def test_leading_dimensions_are_kept(leading):
    tower = build_tower(tiny_config().vision_config)
    assert get_image_embeddings(torch.randn(*leading, 3, 32, 32), tower).shape == (*leading, 16, 16)


@pytest.mark.parametrize("size", [(40, 40), (64, 16)])
@pytest.mark.parametrize("kind", ["clip_vision_model", "siglip_vision_model"])
def test_pictures_of_another_size_are_refused(kind, size):
    tower = build_tower(tiny_config(vision_config={**tower_fields(), "model_type": kind}).vision_config)
    with pytest.raises(ValueError, match=rf"are {size[0]} x {size[1]} pixels, but the tower takes 32 x 32"):
        get_image_embeddings(torch.randn(1, 3, *size), tower)


def picture(mode):
    if mode == "I;16":
        return Image.new("I;16", (40, 24), 65535)
    if mode == "P":
        image = Image.new("P", (40, 24), 0)
        image.putpalette([10, 200, 30])
        image.info["transparency"] = 0
        return image
    colour = {"RGBA": (255, 0, 0, 0), "LA": (0, 0), "1": 1, "L": 255, "CMYK": (0, 0, 0, 0), "RGB": (255, 255, 255)}
    return Image.new(mode, (40, 24), colour[mode])


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P", "L", "1", "I;16", "CMYK"])
def test_every_mode_becomes_one_tensor_and_transparency_becomes_white(mode):
    processor = default_image_processor(tiny_config())
    white = image2tensor(Image.new("RGB", (40, 24), "white"), processor)
    tensor = image2tensor(picture(mode), processor)
    assert tensor.dtype == torch.float32
    assert tensor.shape == (1, 3, 32, 32)
    torch.testing.assert_close(tensor, white)


def test_a_picture_that_exif_turns_is_turned():
    image = Image.new("RGB", (32, 32), "black")
    image.paste("white", (0, 0, 32, 8))  # a bar along the top
    exif = image.getexif()
    exif[0x0112] = 6  # shown turned by 90 degrees: the bar stands at the right
    image.info["exif"] = exif.tobytes()
    processor = default_image_processor(tiny_config())
    turned = image2tensor(image, processor)[0, 0]
    assert turned[:, 30].min() > turned[:, 2].max()


def test_by_default_whole_pictures_are_squeezed_and_nothing_is_cropped():
    image = Image.new("RGB", (96, 32), "black")
    image.paste("white", (0, 0, 12, 32))  # a crop to the centre would lose it
    tensor = image2tensor(image, default_image_processor(tiny_config()))[0, 0]
    assert tensor.shape == (32, 32)
    assert tensor[:, 0].min() > tensor[:, 20].max()


def test_the_default_processor_normalises_as_the_towers_family_does():
    fields = {**tower_fields(), "model_type": "siglip_vision_model"}
    siglip, clip = default_image_processor(tiny_config(vision_config=fields)), default_image_processor(tiny_config())
    assert list(siglip.image_mean) == [0.5] * 3
    assert list(clip.image_mean) != [0.5] * 3


def test_the_processor_in_the_config_wins():
    settings = {"image_processor_type": "CLIPImageProcessorFast", "image_mean": [0.25] * 3, **SQUARE}
    processor = default_image_processor(tiny_config(image_processor=settings))
    assert list(processor.image_mean) == [0.25] * 3
    with pytest.raises(ValueError, match="image_processor_type='Eye' is no image processor"):
        default_image_processor(tiny_config(image_processor={"image_processor_type": "Eye"}))


def test_a_whole_clip_checkpoint_comes_with_its_clip_processor(tmp_path):
    from transformers import CLIPProcessor, CLIPTokenizer

    CLIPModel(clip_config()).save_pretrained(tmp_path)
    words = {"<|startoftext|>": 0, "<|endoftext|>": 1, "a</w>": 2}
    CLIPProcessor(CLIPImageProcessorPil(), CLIPTokenizer(vocab=words, merges=[])).save_pretrained(tmp_path)
    _, processor = get_vision_model(tmp_path)
    assert isinstance(processor, CLIPProcessor)
    assert image2tensor(Image.new("RGB", (50, 30)), processor).shape == (1, 3, 224, 224)
