// Where tasks run: what a host asks of a device.
#pragma once

#include <functional>

#include "actors/context.hpp"

namespace sluice::device {

class Device {
 public:
  virtual ~Device() = default;

  /// Queues a task on its lane. A lane runs one task at a time: lowest priority value first, then
  /// in order of submission. `done` is called exactly once, on a thread of the device, never inside
  /// this call, after the body is destroyed. Any thread may submit.
  virtual void submit(actors::Task task, std::function<void()> done) = 0;
};

}  // namespace sluice::device
