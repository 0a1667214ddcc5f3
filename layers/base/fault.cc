#include "layers/base/fault.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <mutex>
#include <set>

#include "layers/base/error.h"
#include "layers/base/file.h"

namespace surcoat {
namespace {

struct Plan {
    std::string name;
    unsigned nth = 1;
    std::string action;
    std::string trace;
    bool active = false;
};

Plan read_plan() {
    Plan plan;
    if (const char* text = std::getenv("SURCOAT_FAULT")) {
        const std::string fault = text;
        const std::size_t equals = fault.find('=');
        if (equals == std::string::npos) throw Error(Errc::invalid, "SURCOAT_FAULT must read name[:nth]=kill|error|enospc");
        plan.name = fault.substr(0, equals);
        plan.action = fault.substr(equals + 1);
        if (const std::size_t colon = plan.name.find(':'); colon != std::string::npos) {
            plan.nth = static_cast<unsigned>(std::strtoul(plan.name.c_str() + colon + 1, nullptr, 10));
            plan.name.resize(colon);
        }
        plan.active = true;
    }
    if (const char* file = std::getenv("SURCOAT_FAULT_TRACE")) {
        plan.trace = file;
        plan.active = true;
    }
    return plan;
}

std::atomic<bool> g_checked{false};
std::atomic<bool> g_active{false};

Plan& current_plan() {
    static Plan plan = read_plan();
    return plan;
}

void visit(const char* name) {
    static std::mutex mutex;
    static std::set<std::string> seen;
    static unsigned visits = 0;
    const Plan& plan = current_plan();
    g_active.store(plan.active, std::memory_order_relaxed);
    g_checked.store(true, std::memory_order_release);
    if (!plan.active) return;
    const std::lock_guard lock(mutex);
    if (!plan.trace.empty() && seen.insert(name).second) {
        const UniqueFd fd = open_file(plan.trace, O_WRONLY | O_CREAT | O_APPEND, 0666);
        write_full(fd.get(), as_bytes(std::string(name) + "\n"));
    }
    if (plan.name != name || ++visits != plan.nth) return;
    if (plan.action == "kill") ::raise(SIGKILL);
    if (plan.action == "enospc") throw os_error(fmt::format("write (fault point {})", name), ENOSPC);
    throw Error(Errc::failed, fmt::format("fault point {} was told to fail", name));
}

}  // namespace

void fault_point(const char* name) {
    if (g_checked.load(std::memory_order_acquire) && !g_active.load(std::memory_order_relaxed)) return;
    visit(name);
}

void reread_fault_plan() {
    current_plan() = read_plan();
    g_checked.store(false, std::memory_order_release);
}

const std::vector<std::string>& fault_point_names() {
    static const std::vector<std::string> names = {
        "build.after_publish",
        "build.before_publish",
        "container.made_directory",
        "container.made_upper",
        "container.moved_away",
        "gc.before_unlink",
        "gc.begin",
        "gc.inside_mark",
        "gc.inside_sweep",
        "gc.marked",
        "gc.removed_stray",
        "gc.removed_strays",
        "gc.unlinked_one",
        "import.content",
        "import.verified",
        "publish.after_commit",
        "publish.before_commit",
        "publish.inside_commit",
        "publish.locked",
        "publish.renamed_layers",
        "publish.renamed_objects",
        "publish.renamed_one",
        "remove.row_removed",
        "run.ended",
        "run.row_removed",
        "run.running",
        "spawn.created",
        "spawn.made_directories",
        "stage.blob_written",
        "stage.large_object_written",
        "stage.layer_written",
        "stage.object_created",
        "stage.object_written",
        "sync.begin",
        "sync.contents",
        "sync.end",
        "view.after_rename",
        "view.before_directory_rename",
        "view.before_rename",
        "view.before_write",
    };
    return names;
}

}  // namespace surcoat
