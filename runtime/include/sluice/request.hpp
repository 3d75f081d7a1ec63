// What is asked of the library: a training run, a text.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace sluice {

struct TrainProgress;

struct TrainRequest {
  std::string config;                 ///< path of a TOML file; empty: defaults and settings alone
  std::vector<std::string> settings;  ///< as --set, over the file: "train.steps=20"
  bool resume = false;                ///< goes on from the newest whole checkpoint of the run
  /// After each step, on the caller's thread; false: save after the step that runs, then return.
  std::function<bool(const TrainProgress&)> on_step;
};

struct GenerateRequest {
  std::string prompt;
  std::int64_t max_tokens = 128;
  double temperature = 0;   ///< 0: always the likeliest token
  double top_p = 1;         ///< draws among the likeliest tokens of this share
  std::uint64_t seed = 0;   ///< of the draws
  bool stop_at_end = true;  ///< at the end-of-text token
  /// The text as it becomes certain, whole UTF-8 characters at a time; on the caller's thread.
  std::function<void(std::string_view)> on_text;
};

}  // namespace sluice
