// A Hugging Face checkpoint folder together with what an independent implementation makes of it
// (expected.safetensors, expected.json; see tests/data/hf/README.md).
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "kernels/base/tensor.hpp"
#include "runtime/store/checkpoint_reader.hpp"
#include "runtime/store/safetensors.hpp"
#include "tests/support/whole_model.hpp"

namespace sluice::test {

/// Aborts where a file is missing or broken.
class Oracle {
 public:
  explicit Oracle(const std::filesystem::path& folder);

  [[nodiscard]] const model::ModelConfig& config() const { return checkpoint_.config().model; }
  [[nodiscard]] const nlohmann::json& numbers() const { return numbers_; }
  [[nodiscard]] Tensor expected(const std::string& name) const;
  /// Every parameter of the model, from the checkpoint.
  void load(WholeModel& model) const;

 private:
  store::CheckpointReader checkpoint_;
  store::SafetensorsFile expected_;
  nlohmann::json numbers_;
};

[[nodiscard]] Losses losses_of(const nlohmann::json& json);

}  // namespace sluice::test
