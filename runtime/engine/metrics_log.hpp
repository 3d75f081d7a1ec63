// metrics.jsonl of a run folder: one JSON object a line, a training step or a validation.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "actors/message.hpp"
#include "kernels/base/result.hpp"

namespace sluice::engine {

struct StepProgress;

class MetricsLog {
 public:
  /// Appends; lines of `first_step` and later, from a run that was cut off, are dropped first.
  [[nodiscard]] static Result<MetricsLog> open(const std::filesystem::path& run_directory,
                                               std::int64_t first_step);
  MetricsLog(MetricsLog&& other) noexcept;
  MetricsLog& operator=(MetricsLog&& other) noexcept;
  ~MetricsLog();

  [[nodiscard]] Status step(const StepProgress& progress);
  [[nodiscard]] Status validation(std::int64_t step, const actors::StepReport& report,
                                  double unigram_loss);

 private:
  MetricsLog(std::filesystem::path path, int file) : path_(std::move(path)), file_(file) {}
  [[nodiscard]] Status write_line(const std::string& line);

  std::filesystem::path path_;
  int file_ = -1;
};

/// A run as its metrics tell it.
struct MetricsHistory {
  struct Point {
    std::int64_t step = 0;  ///< 0-based index of the step; validations: updates before it
    double loss = 0;
  };
  std::vector<Point> training, validation;
  double unigram_loss = 0;  ///< of the validation text; 0: unknown
  double tokens_per_s = 0;  ///< median over training steps
};
[[nodiscard]] Result<MetricsHistory> read_metrics(const std::filesystem::path& run_directory);

}  // namespace sluice::engine
