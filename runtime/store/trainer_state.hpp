// What a training checkpoint holds beside the model: where the run stands, as trainer_state.json,
// and the optimizer's state, as optimizer.safetensors.
//
// Everything is stored by canonical parameter names, so it resumes under any pipeline and expert
// layout.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "kernels/base/result.hpp"
#include "kernels/base/shape.hpp"
#include "runtime/store/safetensors.hpp"

namespace sluice::store {

struct TrainerState {
  std::int64_t step = 0;              ///< optimizer updates so far
  std::int64_t samples_consumed = 0;  ///< the global sample counter: where the data goes on
  std::int64_t seed = 0;
  std::uint64_t numerics_digest = 0;  ///< config::numerics_digest of the run
  std::string recipe;                 ///< "fp32" or "bf16"
  std::string kernel_set;             ///< which kernels computed it: "avx512", "avx512+bf16", ...
  /// Optimizer updates of the parameters that had fewer than `step`: experts that no token reached.
  std::map<std::string, std::int64_t> fewer_updates;
  std::optional<double> training_loss;    ///< of the step that ended in these weights
  std::optional<double> validation_loss;  ///< of these weights, where they were validated
  /// Size of every other file of the folder; by it an incomplete copy is recognised.
  std::map<std::string, std::uint64_t> files;
};

inline constexpr std::string_view kTrainerStateFile = "trainer_state.json";
inline constexpr std::string_view kOptimizerFile = "optimizer.safetensors";

[[nodiscard]] std::string write_trainer_state(const TrainerState& state);
[[nodiscard]] Result<TrainerState> parse_trainer_state(std::string_view text,
                                                       std::string_view where);
[[nodiscard]] Result<TrainerState> read_trainer_state(const std::filesystem::path& folder);

/// Which tensor of a parameter: optimizer.safetensors has "m.NAME", "v.NAME" and, where the model's
/// files hold less than fp32, "master.NAME".
enum class OptimizerTensor { kFirstMoment, kSecondMoment, kMaster };
[[nodiscard]] std::string name_of(OptimizerTensor tensor, std::string_view parameter);

/// Reads optimizer.safetensors. Move-only; thread-safe.
class OptimizerReader {
 public:
  [[nodiscard]] static Result<OptimizerReader> open(const std::filesystem::path& folder);
  [[nodiscard]] bool contains(OptimizerTensor tensor, std::string_view parameter) const {
    return file_.contains(name_of(tensor, parameter));
  }
  /// fp32 of `shape` into `out`; missing, another shape or dtype is an error that names it.
  [[nodiscard]] Status read(OptimizerTensor tensor, std::string_view parameter, const Shape& shape,
                            std::span<float> out) const;

 private:
  explicit OptimizerReader(SafetensorsFile file) : file_(std::move(file)) {}
  SafetensorsFile file_;
};

}  // namespace sluice::store
