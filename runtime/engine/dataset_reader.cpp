// Row r of micro-batch m is sample m · micro_batch_size + r of its step.
#include "runtime/engine/dataset_reader.hpp"

namespace sluice::engine {

Status DatasetReader::read(actors::StepMode mode, std::int64_t index, std::int32_t micro_batch,
                           Tensor tokens) {
  const std::int64_t rows = tokens.shape()[0];
  const std::int64_t columns = tokens.shape()[1];
  for (std::int64_t r = 0; r < rows; ++r) {
    const std::int64_t in_step = micro_batch * rows + r;
    const std::span<std::int32_t> out = tokens.values<std::int32_t>().subspan(
        static_cast<std::size_t>(r * columns), static_cast<std::size_t>(columns));
    if (mode == actors::StepMode::kTrain) {
      SLUICE_TRY(dataset_.train_sample(
          static_cast<std::uint64_t>(index * global_batch_size_ + in_step), out));
    } else {
      SLUICE_TRY(dataset_.validation_sample(
          static_cast<std::uint64_t>(in_step) % dataset_.validation_samples(), out));
    }
  }
  return {};
}

}  // namespace sluice::engine
