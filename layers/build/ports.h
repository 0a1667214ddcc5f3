#pragma once
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "layers/base/process.h"
#include "layers/image.h"
#include "layers/store/transaction.h"
#include "layers/tree.h"

namespace surcoat::build {

/// How the build engine reaches what it must not know: images by name (registry/ implements it) and running
/// roots (overlay/ implements it). cmd/wire.cc puts them together; tests put fakes here.
///
/// The engine's use of them, in order: every FROM is resolved before any step runs; a RUN opens a workspace
/// on the parent's layers, runs its command there, and asks for the tree that resulted; COPY, WORKDIR and
/// the rest need no workspace, because a layer is made from a tree in memory and objects in the store.

class ImageSource {
  public:
    virtual ~ImageSource() = default;
    /// The image of that name (reference as written in FROM), for that platform; nothing if there is none.
    virtual std::optional<Image> find(const std::string& reference, const Platform& platform) = 0;
    /// Names that exist, for "did you mean".
    virtual std::vector<std::string> known_names() = 0;
};

/// What RUN runs.
struct Command {
    std::vector<std::string> args;
    std::vector<std::string> env;  ///< "K=V"; PATH and HOME are the caller's duty
    std::string working_dir = "/";
    std::string user;  ///< as in an image's config: "", "name", "uid:gid", …; resolved inside the root
    bool network = true;
    /// Files to show read-only inside at these paths while the command runs (heredoc scripts): path →
    /// content.
    std::vector<std::pair<std::string, std::string>> files;
};

/// A writable root on top of a chain of layers (containerd's active snapshot). Gone without a trace when
/// destroyed, unless kept.
class Workspace {
  public:
    virtual ~Workspace() = default;
    /// Runs to the end. Output (stdout and stderr, as they come) goes to `output` from this thread.
    /// Throws for what prevents running (unknown user, no such program is Errc::not_found).
    virtual ExitStatus run(const Command& command, const std::function<void(std::string_view)>& output) = 0;
    /// The merged tree as it is now; new contents are staged in `transaction`. Mount points and files that
    /// the workspace itself had to make are not in it.
    virtual Tree tree(Transaction& transaction) = 0;
    /// Keeps the root as a container that people can enter; returns its name.
    virtual std::string keep(const Command& failed) = 0;
};

class Workspaces {
  public:
    virtual ~Workspaces() = default;
    virtual std::unique_ptr<Workspace> open(const std::vector<DiffId>& chain, const ImageConfig& config) = 0;
};

}  // namespace surcoat::build
