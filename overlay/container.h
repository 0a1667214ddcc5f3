#pragma once
#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "overlay/container_spec.h"
#include "overlay/sandbox.h"
#include "overlay/union_view.h"

namespace surcoat::overlay {

/// What has to be known to make a container.
struct NewContainer {
    std::string name;  ///< "" = one is made up (adjective_animal)
    Digest image;
    std::string image_name;
    std::vector<DiffId> layers;
    ContainerSpec spec;
};

/// The containers of a store: their rows, directories, processes.
/// States: created → running → exited. Running is proved by the identity of the process that watches it (its
/// monitor); a container whose monitor died reads as exited with code 137 and its row is corrected by the
/// next writer.
class Containers {
  public:
    explicit Containers(Store& store) : store_(store) {}

    /// One catalogue transaction for all of them; their directories are made first. Returns ids.
    /// Throws Errc::conflict naming the container that has a wanted name already.
    std::vector<std::string> create(std::vector<NewContainer> containers);

    /// By name, id, or unique id prefix. Throws Errc::not_found with the nearest names, Errc::conflict if a
    /// prefix is ambiguous. The state is the true one.
    ContainerRow get(const std::string& name_or_id);
    std::vector<ContainerRow> list();

    /// Runs it here: this process watches it, terminal and streams are ours, signals are forwarded. Returns
    /// how the command ended (docker's 125/126/127 are the caller's to map from the error).
    /// A container that could not be started stays as it was (removed, with auto_remove).
    ExitStatus run_attached(const std::string& id);
    /// Starts a monitor process of its own (output to the container's log) and returns once the command
    /// runs, or throws what prevented it. Forks: no other Store on the same root may be open in this process.
    void start_detached(const std::string& id);
    /// With our standard streams, or a terminal relayed to them. The container's environment comes first.
    /// A plain user must call it outside of any user namespace of his own: the container's is joined.
    ExitStatus exec(const std::string& id, const ExecSpec& spec);
    void kill(const std::string& id, int signal);
    /// The spec's stop signal, then SIGKILL after `timeout`.
    void stop(const std::string& id, std::optional<std::chrono::seconds> timeout = {});
    /// Waits until it has exited; returns its exit code.
    int wait(const std::string& id);
    /// Copies the log to a descriptor; `follow` goes on until it exits. Lines keep which stream they came from.
    void logs(const std::string& id, int out, int err, bool follow, std::optional<std::size_t> tail);
    /// `force` kills a running one first. Unmounts, removes row, then directory.
    void remove(const std::string& id, bool force);
    /// The same for many, in one catalogue transaction.
    void remove(const std::vector<std::string>& ids, bool force);
    /// Throws Errc::conflict if another has the name.
    void rename(const std::string& id, const std::string& name);

    /// Mounts its view at `where` (default: a directory of ours under the runtime directory) in this mount
    /// namespace, and returns the path. Idempotent.
    std::filesystem::path mount(const std::string& id, std::optional<std::filesystem::path> where = {});
    /// False if it was not mounted.
    bool unmount(const std::string& id);
    std::optional<std::filesystem::path> mounted_at(const std::string& id);

    LowerStack lowers(const ContainerRow& row) const;
    UpperLayer upper(const ContainerRow& row) const;
    /// Its merged root as a tree, without the empty files that the sandbox made to mount on; contents go through
    /// `store_content` (layers/diff.h). A running one is read while it runs.
    Tree tree(const ContainerRow& row, const std::function<ObjectId(int fd, std::uint64_t size)>& store_content) const;
    /// A view for file work: of the live root if it runs, else over its upper.
    std::unique_ptr<UnionView> view(const ContainerRow& row, bool read_only);

  private:
    Store& store_;
};

/// Where runtime state (mount points) lies: /run/surcoat or $XDG_RUNTIME_DIR/surcoat, else the store's run/.
std::filesystem::path runtime_directory(const Store& store);

}  // namespace surcoat::overlay
