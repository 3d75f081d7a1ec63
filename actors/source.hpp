// Where micro-batches come from: samples for training, a prompt and then the generated tokens for
// generation.
#pragma once

#include "actors/flow.hpp"

namespace sluice::actors {

/// Samples by number. Called on the storage lane, one call at a time.
class SampleReader {
 public:
  virtual ~SampleReader() = default;
  /// Fills tokens [micro_batch_size, sequence_length + 1 + mtp_depth] of a step's micro-batch.
  virtual Status read(StepMode mode, std::int64_t index, std::int32_t micro_batch,
                      Tensor tokens) = 0;
};

class Source final : public FlowActor {
 public:
  struct Config {
    const graph::Plan* plan = nullptr;
    std::int64_t mtp_depth = 0;
    SampleReader* reader = nullptr;  ///< outlives the actor; null where nothing is trained
  };
  explicit Source(const Config& config);

 private:
  void on_control(Message message) override;
  /// `order`: micro-batches of the route, whose first of the step is `first`.
  Flow feed(StepStart start, std::int32_t route, std::int32_t first,
            std::vector<std::int32_t> order);
  Flow generate(GenerateRequest request, std::int64_t step);

  Config config_;
};

}  // namespace sluice::actors
