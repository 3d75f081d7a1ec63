// config.json to ModelConfig and back.
#include "runtime/store/hf_config.hpp"

#include <array>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <type_traits>

#include "runtime/store/json_file.hpp"

namespace sluice::store {
namespace {

using model::ModelConfig;
using model::Yarn;
using nlohmann::json;

constexpr std::uint64_t kConfigBytesMax = 4u << 20;

// Null where the key is absent.
const json& member(const json& object, std::string_view key) {
  static const json absent;
  const auto it = object.find(key);
  return it == object.end() ? absent : *it;
}

std::string shown(const json& value) {
  std::string text = value.dump(-1, ' ', true, json::error_handler_t::replace);
  return text.size() <= 60 ? text : text.substr(0, 57) + "...";
}

tl::unexpected<Error> wrong_type(std::string_view key, const json& value, std::string_view wanted) {
  return invalid_input("{} must be {}, but is {}", key, wanted,
                       value.is_structured() ? value.type_name() : shown(value));
}

// Like Python's, a whole number may be written 4096.0.
Status read(std::string_view key, const json& value, std::int64_t& out) {
  if (value.is_number_unsigned() &&
      value.get<std::uint64_t>() > std::numeric_limits<std::int64_t>::max()) {
    return wrong_type(key, value, "an integer of 64 bits");
  }
  if (value.is_number_float()) {
    const double real = value.get<double>();
    if (!(std::abs(real) < 9e15) || real != std::floor(real)) {
      return wrong_type(key, value, "an integer");
    }
    out = static_cast<std::int64_t>(real);
    return {};
  }
  if (!value.is_number_integer()) return wrong_type(key, value, "an integer");
  out = value.get<std::int64_t>();
  return {};
}

Status read(std::string_view key, const json& value, double& out) {
  if (!value.is_number()) return wrong_type(key, value, "a number");
  out = value.get<double>();
  return {};
}

Status read(std::string_view key, const json& value, bool& out) {
  if (!value.is_boolean()) return wrong_type(key, value, "true or false");
  out = value.get<bool>();
  return {};
}

template <class T>
Status read(std::string_view key, const json& value, std::optional<T>& out) {
  if (value.is_null()) return {};
  T read_value{};
  SLUICE_TRY(read(key, value, read_value));
  out = read_value;
  return {};
}

template <class T>
Status read_or_keep(std::string_view key, const json& value, T& out) {
  return value.is_null() ? Status{} : read(key, value, out);
}

// What null means where transformers gives it a meaning; elsewhere null is a wrong type.
std::optional<std::int64_t> meaning_of_null(std::string_view key) {
  if (key == "q_lora_rank" || key == "n_shared_experts") return 0;
  if (key == "bos_token_id" || key == "eos_token_id") return -1;
  return std::nullopt;
}

template <class T>
Status read_field(const json& object, Field<T>& f) {
  const auto it = object.find(f.name);
  if (it == object.end()) return {};
  if constexpr (std::is_same_v<T, std::int64_t>) {
    if (const auto meaning = meaning_of_null(f.name); it->is_null() && meaning) {
      f.value = *meaning;
      return {};
    }
    // Several ends of text: the first one ends a document in training data.
    if (f.name == "eos_token_id" && it->is_array() && !it->empty()) {
      return read(f.name, it->front(), f.value);
    }
  }
  return read(f.name, *it, f.value);
}

Status read_fields(const json& object, ModelConfig& config) {
  Status status;
  config.visit_fields([&](auto&& f) {
    if (status) status = read_field(object, f);
  });
  return status;
}

Status require(const json& object, std::string_view key, const json& only) {
  const json& value = member(object, key);
  if (value.is_null() || value == only) return {};
  return invalid_input("{} is {}; Sluice computes only {}", key, shown(value), shown(only));
}

Status check_supported(const json& object) {
  if (member(object, "model_type") != "deepseek_v3") {
    return invalid_input("model_type is {}; Sluice computes only \"deepseek_v3\"",
                         shown(member(object, "model_type")));
  }
  SLUICE_TRY(require(object, "attention_bias", false));
  SLUICE_TRY(require(object, "attention_dropout", 0.0));
  SLUICE_TRY(require(object, "hidden_act", "silu"));
  SLUICE_TRY(require(object, "scoring_func", "sigmoid"));
  SLUICE_TRY(require(object, "topk_method", "noaux_tc"));
  return require(object, "partial_rotary_factor", 1.0);
}

// Once the number of heads is known to be one.
Status check_key_value_heads(const json& object, const ModelConfig& config) {
  const json& value = member(object, "num_key_value_heads");
  if (value.is_null() || value == config.num_attention_heads) return {};
  return invalid_input(
      "num_key_value_heads is {}, but num_attention_heads is {}; in latent attention every head "
      "has keys and values of its own, so Sluice computes only equal numbers",
      shown(value), config.num_attention_heads);
}

Status read_yarn(const json& rope, ModelConfig& config) {
  Yarn yarn;
  yarn.original_max_position_embeddings = config.max_position_embeddings;
  if (member(rope, "factor").is_null()) return invalid_input("rope_scaling.factor is missing");
  SLUICE_TRY(read("rope_scaling.factor", rope["factor"], yarn.factor));
  SLUICE_TRY(read_or_keep("rope_scaling.original_max_position_embeddings",
                          member(rope, "original_max_position_embeddings"),
                          yarn.original_max_position_embeddings));
  SLUICE_TRY(read_or_keep("rope_scaling.beta_fast", member(rope, "beta_fast"), yarn.beta_fast));
  SLUICE_TRY(read_or_keep("rope_scaling.beta_slow", member(rope, "beta_slow"), yarn.beta_slow));
  SLUICE_TRY(read("rope_scaling.mscale", member(rope, "mscale"), yarn.mscale));
  SLUICE_TRY(
      read("rope_scaling.mscale_all_dim", member(rope, "mscale_all_dim"), yarn.mscale_all_dim));
  SLUICE_TRY(read("rope_scaling.attention_factor", member(rope, "attention_factor"),
                  yarn.attention_factor));
  SLUICE_TRY(require(rope, "truncate", true));
  config.yarn = yarn;
  return {};
}

// rope_scaling of transformers 4, rope_parameters (with rope_theta inside) of 5.
Status read_rope(const json& object, ModelConfig& config) {
  const json& newer = member(object, "rope_parameters");
  const json& rope = newer.is_null() ? member(object, "rope_scaling") : newer;
  if (rope.is_null()) return {};
  if (!rope.is_object()) return wrong_type("rope_scaling", rope, "an object or null");
  SLUICE_TRY(
      read_or_keep("rope_parameters.rope_theta", member(rope, "rope_theta"), config.rope_theta));
  SLUICE_TRY(require(rope, "partial_rotary_factor", 1.0));
  const json& type = rope.contains("rope_type") ? rope["rope_type"] : member(rope, "type");
  if (type == "default") return {};
  if (type != "yarn") {
    return invalid_input("rope_scaling.rope_type is {}; Sluice computes \"yarn\" and \"default\"",
                         shown(type));
  }
  return read_yarn(rope, config);
}

Status read_quantization(const json& object, HfConfig& config) {
  const json& quantization = member(object, "quantization_config");
  if (quantization.is_null()) return {};
  if (!quantization.is_object()) {
    return wrong_type("quantization_config", quantization, "an object or null");
  }
  if (member(quantization, "quant_method") != "fp8") {
    return invalid_input("quantization_config.quant_method is {}; Sluice reads only \"fp8\"",
                         shown(member(quantization, "quant_method")));
  }
  SLUICE_TRY(require(quantization, "fmt", "e4m3"));
  SLUICE_TRY(require(quantization, "weight_block_size", json::array({128, 128})));
  config.fp8 = true;
  return {};
}

constexpr std::array<std::pair<std::string_view, DType>, 3> kTorchNames{
    {{"float32", DType::kF32}, {"bfloat16", DType::kBF16}, {"float16", DType::kF16}}};

std::optional<DType> read_dtype(const json& object) {
  const json& older = member(object, "torch_dtype");
  const json& value = older.is_null() ? member(object, "dtype") : older;
  for (const auto& [name, dtype] : kTorchNames) {
    if (value == name) return dtype;
  }
  return std::nullopt;
}

Result<HfConfig> config_from_json(const json& object) {
  if (!object.is_object()) return wrong_type("the file", object, "one JSON object");
  HfConfig config;
  SLUICE_TRY(read_fields(object, config.model));
  SLUICE_TRY(check_supported(object));
  SLUICE_TRY(read_rope(object, config.model));
  SLUICE_TRY(read_quantization(object, config));
  SLUICE_TRY(config.model.validate());
  SLUICE_TRY(check_key_value_heads(object, config.model));
  config.dtype = read_dtype(object);
  return config;
}

json yarn_to_json(const Yarn& yarn) {
  json out = {{"type", "yarn"},
              {"rope_type", "yarn"},
              {"factor", yarn.factor},
              {"original_max_position_embeddings", yarn.original_max_position_embeddings},
              {"beta_fast", yarn.beta_fast},
              {"beta_slow", yarn.beta_slow}};
  if (yarn.mscale) out["mscale"] = *yarn.mscale;
  if (yarn.mscale_all_dim) out["mscale_all_dim"] = *yarn.mscale_all_dim;
  if (yarn.attention_factor) out["attention_factor"] = *yarn.attention_factor;
  return out;
}

}  // namespace

Result<HfConfig> parse_hf_config(std::string_view text, std::string_view where) {
  if (text.size() > kConfigBytesMax) {
    return invalid_input("{}: {} bytes, more than the {} that a config.json may have", where,
                         text.size(), kConfigBytesMax);
  }
  SLUICE_ASSIGN(const json object, parse_json(text, where));
  auto config = config_from_json(object);
  if (!config) return in_context(where, std::move(config).error());
  return config;
}

Result<HfConfig> read_hf_config(const std::filesystem::path& path) {
  std::error_code error;
  const bool is_folder = std::filesystem::is_directory(path, error);
  const std::filesystem::path file = is_folder ? path / "config.json" : path;
  SLUICE_ASSIGN(const json object, read_json(file, kConfigBytesMax));
  auto config = config_from_json(object);
  if (!config) return in_context(file.string(), std::move(config).error());
  return config;
}

std::string write_hf_config(const ModelConfig& config, DType dtype) {
  json out = {{"architectures", {"DeepseekV3ForCausalLM"}},
              {"model_type", "deepseek_v3"},
              {"attention_bias", false},
              {"attention_dropout", 0.0},
              {"hidden_act", "silu"},
              {"num_key_value_heads", config.num_attention_heads},
              {"scoring_func", "sigmoid"},
              {"topk_method", "noaux_tc"},
              {"pretraining_tp", 1},
              {"use_cache", true}};
  ModelConfig copy = config;
  copy.visit_fields([&out](auto&& f) { out[std::string(f.name)] = f.value; });
  for (const char* key : {"q_lora_rank", "bos_token_id", "eos_token_id"}) {
    if (const auto meaning = meaning_of_null(key); out[key] == *meaning) out[key] = nullptr;
  }
  out["rope_scaling"] = config.yarn ? yarn_to_json(*config.yarn) : json(nullptr);
  for (const auto& [name, known] : kTorchNames) {
    if (known == dtype) out["torch_dtype"] = name;
  }
  return to_text(out);
}

}  // namespace sluice::store
