// Hugging Face config.json of model_type "deepseek_v3": read into ModelConfig, and written so that
// transformers loads it.
//
// Keys and defaults are those of transformers' DeepseekV3Config; a key that is absent has its
// default there. Keys that would change the computation in a way Sluice does not compute
// (attention_bias, another activation, a softmax gate, grouped key-value heads, a rope type other
// than yarn, another quantisation) are errors; keys that no model of this type computes with are
// ignored.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "graph/model_config.hpp"
#include "kernels/base/dtype.hpp"
#include "kernels/base/result.hpp"

namespace sluice::store {

struct HfConfig {
  model::ModelConfig model;    ///< validated
  std::optional<DType> dtype;  ///< torch_dtype (dtype in newer files), where it names one we know
  bool fp8 = false;            ///< quantization_config: E4M3 weights with 128x128 scales
};

/// Messages begin with `where`.
[[nodiscard]] Result<HfConfig> parse_hf_config(std::string_view text, std::string_view where);
/// `path` is a config.json or a folder that holds one.
[[nodiscard]] Result<HfConfig> read_hf_config(const std::filesystem::path& path);

/// The text of a config.json for weights of `dtype` (kF32 or kBF16), never quantised.
[[nodiscard]] std::string write_hf_config(const model::ModelConfig& config, DType dtype);

}  // namespace sluice::store
