#include "overlay/sandbox.h"

#include <sched.h>

#include "overlay/sandbox_plan.h"
#include "overlay/sandbox_process.h"

namespace surcoat::overlay {

struct Sandbox::State {
    SandboxProcess process;
};

Sandbox::Sandbox(std::unique_ptr<State> state) : state_(std::move(state)) {}
Sandbox::Sandbox(Sandbox&&) noexcept = default;
Sandbox::~Sandbox() = default;

Sandbox Sandbox::start(UniqueFd root, const ContainerSpec& spec, const std::string& id,
                       const Streams& streams) {
    SandboxPlan plan = plan_sandbox(std::move(root), spec, id, streams);
    unsigned long flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS;
    if (spec.network == Network::none) flags |= CLONE_NEWNET;
    std::optional<SandboxReport> failure;
    auto process = SandboxProcess::fork(
        flags, [&](const SandboxPipes& pipes) { sandbox_init(plan, pipes); }, failure);
    if (failure) throw report_error(*failure, plan.command, &plan.steps);
    if (spec.tty && streams.on_terminal) streams.on_terminal(std::move(plan.master));
    return Sandbox(std::make_unique<State>(State{std::move(process)}));
}

pid_t Sandbox::init_pid() const {
    return state_->process.pid();
}
ExitStatus Sandbox::wait() {
    return state_->process.wait();
}
void Sandbox::signal(int number) {
    state_->process.signal(number);
}

}  // namespace surcoat::overlay
