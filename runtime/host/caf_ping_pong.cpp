// Ping counts down, pong echoes.
#include "runtime/host/caf_ping_pong.hpp"

#include <caf/all.hpp>
#include <chrono>
#include <exception>
#include <future>

#include "runtime/host/caf_compatibility.hpp"

namespace sluice::host {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::int64_t kWarmUp = 1'000;

class Ping final : public caf::event_based_actor {
 public:
  Ping(caf::actor_config& config, caf::actor pong, std::promise<double>* seconds,
       std::int64_t round_trips)
      : caf::event_based_actor(config),
        pong_(std::move(pong)),
        seconds_(*seconds),
        round_trips_(round_trips) {}

  caf::behavior make_behavior() override {
    return {[this](std::int64_t left) {
      if (left == round_trips_) start_ = Clock::now();
      if (left == 0) {
        const std::chrono::duration<double> took = Clock::now() - start_;
        return seconds_.set_value(took.count());
      }
      send_as(this, pong_, left - 1);
    }};
  }

 private:
  caf::actor pong_;
  std::promise<double>& seconds_;
  std::int64_t round_trips_;
  Clock::time_point start_{};
};

}  // namespace

Result<double> caf_ping_pong_seconds(std::int64_t round_trips, int threads) {
  register_caf_types();
  try {
    caf::actor_system_config config;
    configure_scheduler(config, threads);
    caf::actor_system system(config);
    std::promise<double> seconds;
    const caf::actor pong =
        system.spawn([]() -> caf::behavior { return {[](std::int64_t left) { return left; }}; });
    const caf::actor ping = system.spawn<Ping>(pong, &seconds, round_trips);
    send_from_outside(ping, round_trips + kWarmUp);
    const double took = seconds.get_future().get();
    caf::anon_send_exit(ping, caf::exit_reason::kill);
    caf::anon_send_exit(pong, caf::exit_reason::kill);
    return took;
  } catch (const std::exception& exception) {
    return failed("CAF's ping-pong did not run: {}", exception.what());
  }
}

}  // namespace sluice::host
