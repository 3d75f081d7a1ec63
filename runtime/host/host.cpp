// What all hosts share.
#include "runtime/host/host.hpp"

#include <utility>

namespace sluice::host {

Result<actors::Message> Host::receive() {
  auto result = receive_for(std::chrono::nanoseconds::max());
  if (!result) return tl::unexpected(std::move(result).error());
  return std::move(**result);
}

}  // namespace sluice::host
