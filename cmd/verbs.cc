#include "cmd/verb.h"

namespace surcoat::cmd {

std::vector<Verb> all_verbs() {
    return {
        // Build
        import_verb(), build_verb(), commit_verb(), tag_verb(),
        // Run
        run_verb(), create_verb(), spawn_verb(), start_verb(), exec_verb(), stop_verb(), kill_verb(), wait_verb(), logs_verb(),
        ps_verb(), rename_verb(), rm_verb(), cp_verb(), mount_verb(), umount_verb(), unshare_verb(),
        // Look
        images_verb(), history_verb(), layers_verb(), inspect_verb(), diff_verb(), ls_verb(), cat_verb(),
        // Measure
        df_verb(),
        // Move
        save_verb(), load_verb(), export_verb(),
        // System
        rmi_verb(), gc_verb(), fsck_verb(), version_verb(),
    };
}

}  // namespace surcoat::cmd
