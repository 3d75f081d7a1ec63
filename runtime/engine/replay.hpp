// A recording run again: all of it, or one actor, up to a message.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "kernels/base/result.hpp"
#include "runtime/host/replay_host.hpp"

namespace sluice::engine {

struct ReplayOptions {
  std::filesystem::path directory;
  std::vector<std::string> sets;  ///< "device.isa=avx2": changes of [device] alone
  std::string actor;  ///< runs this one, and those whose messages the log does not hold whole;
                      ///< empty: all
  std::string until;  ///< stops before this message to `actor`; trace::MessagePattern
  std::filesystem::path dump;  ///< what was seen there, as safetensors; empty: nothing
  /// Called where `until` was met, with the message; the replay ends if it gives false.
  std::function<bool(const std::string& message)> on_stop;
  std::function<void(const host::ReplayHost::Progress&)> on_step;
};

struct ReplayReport {
  trace::Recording recording;
  std::string kernel_set;           ///< that computed now
  std::vector<std::string> actors;  ///< that ran again, without channels
  host::ReplayHost::Progress progress;
  std::optional<trace::Difference> difference;
  std::string stopped_before;  ///< message; empty: it ran to the end
  bool closed = false;         ///< the log is whole; else its writer was killed, or the file cut
  std::uint64_t bytes = 0;     ///< of the log, as far as it was read
  std::vector<std::string> dumped;  ///< files
};

[[nodiscard]] Result<ReplayReport> replay(const ReplayOptions& options);

}  // namespace sluice::engine
