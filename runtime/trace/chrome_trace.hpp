// A timeline in the JSON that Perfetto (ui.perfetto.dev) and chrome://tracing open.
//
// Processes: the steps; the lanes, a track each, with their tasks; the channels, a track each, with
// messages on their way. Arrows lead from the task that made a message to the one that it set off.
// Counters: messages that wait at the receiver of each channel, and bytes of tensors.
#pragma once

#include <functional>
#include <string_view>

#include "runtime/trace/timeline.hpp"

namespace sluice::trace {

/// Gives the text in pieces to `write`, which may fail.
[[nodiscard]] Status write_chrome_trace(const Timeline& timeline,
                                        const std::function<Status(std::string_view)>& write);

}  // namespace sluice::trace
