// Micro-batches out of a dataset: sample numbers are a pure function of step, micro-batch and row.
#pragma once

#include "actors/source.hpp"
#include "runtime/data/dataset.hpp"

namespace sluice::engine {

/// Training step s reads samples s · global_batch_size on; validation always the first ones.
class DatasetReader final : public actors::SampleReader {
 public:
  DatasetReader(const Dataset& dataset, std::int64_t global_batch_size)
      : dataset_(dataset), global_batch_size_(global_batch_size) {}

  Status read(actors::StepMode mode, std::int64_t index, std::int32_t micro_batch,
              Tensor tokens) override;

 private:
  const Dataset& dataset_;
  std::int64_t global_batch_size_;
};

}  // namespace sluice::engine
