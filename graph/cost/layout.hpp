// What of a model lies where: the units of each stage, and how many ranks share what.
#pragma once

#include <string>
#include <vector>

#include "graph/model_config.hpp"
#include "graph/schedule/schedule.hpp"

namespace sluice::cost {

enum class Recipe : std::uint8_t { kBf16, kFp8 };

/// A training job as the cost model sees it.
struct Job {
  model::ModelConfig model;
  Recipe recipe = Recipe::kBf16;
  std::int32_t pipeline_parallel_size = 1;
  /// Pipelines, each with micro-batches of its own; routed experts are shared among
  /// expert_parallel_size of them.
  std::int32_t data_parallel_size = 1;
  std::int32_t expert_parallel_size = 1;
  std::string schedule = "1f1b";
  std::optional<graph::Schedule> schedule_read;
  std::vector<std::int64_t> layers_per_stage;  ///< empty: balanced by time
  std::int64_t sequence_length = 4096;
  std::int64_t micro_batch_size = 1;
  std::int64_t global_batch_size = 1;
  /// Rows of the expert rank that has most, over the mean.
  double expert_load = 1;

  [[nodiscard]] std::int64_t micro_batches() const {  ///< of a pipeline
    return global_batch_size / micro_batch_size / data_parallel_size;
  }
  [[nodiscard]] double tokens() const {  ///< of a micro-batch
    return static_cast<double>(micro_batch_size * sequence_length);
  }
  [[nodiscard]] double gpus() const {
    return static_cast<double>(pipeline_parallel_size) * data_parallel_size;
  }
};

/// Errors: sizes that do not divide each other; the message names the keys.
[[nodiscard]] Status validate(const Job& job);
[[nodiscard]] Result<graph::Schedule> schedule_of(const Job& job);

enum class Unit : std::uint8_t { kEmbedding, kDenseLayer, kMoeLayer, kMtpProjection, kHead };
[[nodiscard]] std::string_view name_of(Unit unit);

/// The units of each stage, in the order of the forward pass: embedding with the first; final norm
/// and head with the last, then for each MTP depth its projection, layer and head.
using Stages = std::vector<std::vector<Unit>>;

/// `layers` main layers for each stage. Errors: another number of stages or layers.
[[nodiscard]] Result<Stages> stages_of(const model::ModelConfig& model,
                                       const std::vector<std::int64_t>& layers,
                                       std::int32_t stages);
/// Layers for each stage such that the slowest one is as fast as can be; `seconds` of a unit.
/// Every stage has at least one layer.
[[nodiscard]] std::vector<std::int64_t> balanced_layers(const model::ModelConfig& model,
                                                        std::int32_t stages,
                                                        const std::vector<double>& seconds);

}  // namespace sluice::cost
