// A Hugging Face checkpoint folder: config.json and model.safetensors, or the shards that
// model.safetensors.index.json lists.
//
// open() checks every header and that index and shards agree. check() compares with what a model
// needs and names what is missing, extra, of a wrong shape or dtype. read() then brings one tensor,
// as fp32, straight into its owner's storage: the model is never in memory twice.
//
// Stored-only tensors are accepted, with a note (released DeepSeek-V3 layout, README_WEIGHTS.md):
// the embedding and head repeated in MTP layers, MTP layers beyond num_nextn_predict_layers,
// rotary_emb.inv_freq. An FP8 weight X needs the fp32 scales X_scale_inv, one for each 128x128
// block, from any shard.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "kernels/base/result.hpp"
#include "kernels/base/shape.hpp"
#include "runtime/store/hf_config.hpp"
#include "runtime/store/safetensors.hpp"

namespace sluice::store {

/// A tensor that a model needs.
struct NamedShape {
  std::string name;
  Shape shape;
};

/// Move-only. Reading is thread-safe.
class CheckpointReader {
 public:
  [[nodiscard]] static Result<CheckpointReader> open(const std::filesystem::path& folder);

  [[nodiscard]] const std::filesystem::path& folder() const { return folder_; }
  [[nodiscard]] const HfConfig& config() const { return config_; }
  [[nodiscard]] bool contains(std::string_view name) const { return find(name) != nullptr; }

  /// Fails with a list when the folder does not hold exactly `needed` and stored-only tensors;
  /// otherwise notes on what is there but not used, a line each.
  [[nodiscard]] Result<std::vector<std::string>> check(std::span<const NamedShape> needed) const;

  /// The tensor as fp32 into `out`, which has shape.count() elements. Checks its shape and dtype
  /// again.
  [[nodiscard]] Status read(std::string_view name, const Shape& shape, std::span<float> out) const;

 private:
  struct Located {
    std::uint32_t shard = 0;
    const StoredTensor* tensor = nullptr;  // in shards_[shard]
  };

  CheckpointReader(std::filesystem::path folder, HfConfig config,
                   std::vector<SafetensorsFile> shards);

  using NameSet = std::unordered_set<std::string_view>;

  [[nodiscard]] const Located* find(std::string_view name) const;
  /// Whether `name` holds the scales of an FP8 tensor that is wanted, or stored only.
  [[nodiscard]] bool is_scale_in_use(std::string_view name, const NameSet& wanted) const;
  /// Empty when the stored tensor serves, else what is wrong.
  [[nodiscard]] std::string problem_of(std::string_view name, const Shape& shape) const;
  [[nodiscard]] std::string problem_of_scale(std::string_view name, const Shape& shape) const;
  [[nodiscard]] Status read_scaled(const Located& weight, std::string_view name, const Shape& shape,
                                   std::span<float> out) const;

  std::filesystem::path folder_;
  HfConfig config_;
  std::vector<SafetensorsFile> shards_;
  std::unordered_map<std::string_view, Located> tensors_;  // keys: names in shards_
};

}  // namespace sluice::store
