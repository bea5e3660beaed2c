//! Habits of people who know `cp`, `mv`, `rm` and `rsync`, on one cluster: what they type does what they expect.

mod administration;
mod attributes;
mod copies;
mod examples;
mod leftovers;
mod merged;
mod names;
mod paths;
mod shell;
mod surroundings;
mod trash;

use anyhow::{Context, Result};

use self::shell::Shell;

#[tokio::test(flavor = "multi_thread")]
async fn missing_directories_of_a_target_are_made() -> Result<()> {
    copies::missing_directories(&Shell::start().await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn acls_and_extended_attributes_are_as_hdfs_has_them() -> Result<()> {
    let shell = Shell::start().await?;
    attributes::access(&shell).await.context("ACLs")?;
    attributes::inheritance(&shell).await.context("default ACLs")?;
    attributes::values(&shell).await.context("extended attributes")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_just_created_is_not_overwritten() -> Result<()> {
    let shell = Shell::start().await?;
    merged::just_created(&shell).await?;
    merged::sources_that_look_alike(&shell).await.context("names that are not UTF-8")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_failed_has_made_nothing() -> Result<()> {
    merged::failed_sources(&Shell::start().await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn directories_of_several_sources_become_one() -> Result<()> {
    merged::directories(&Shell::start().await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_and_pipes_are_read_and_written_through() -> Result<()> {
    copies::devices(&Shell::start().await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn trees_are_copied_as_by_cp() -> Result<()> {
    let shell = Shell::start().await?;
    copies::trees(&shell).await?;
    copies::in_the_way(&shell).await.context("files in the way")
}

#[tokio::test(flavor = "multi_thread")]
async fn dots_at_the_end_of_a_source_mean_what_is_in_it() -> Result<()> {
    copies::dots(&Shell::start().await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn times_are_kept_or_refused() -> Result<()> {
    copies::times(&Shell::start().await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn local_names_need_not_be_utf8() -> Result<()> {
    copies::strange_names(&Shell::start().await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slash_at_the_end_means_a_directory() -> Result<()> {
    paths::slashes(&Shell::start().await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn all_commands_take_the_same_forms_of_paths() -> Result<()> {
    paths::forms(&Shell::start().await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_find_hands_over_is_removed_and_nothing_else() -> Result<()> {
    names::found_and_removed(&Shell::start().await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn literal_paths_are_no_patterns() -> Result<()> {
    names::literal(&Shell::start().await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_one_command_takes_all_take() -> Result<()> {
    names::as_typed(&Shell::start().await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_alternative_in_braces_is_a_path() -> Result<()> {
    names::braces(&Shell::start().await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_done_before_all_paths_are_read() -> Result<()> {
    names::read_first(&Shell::start().await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn names_in_sentences_stay_on_their_line() -> Result<()> {
    names::lines(&Shell::start().await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_touched_by_several_at_once() -> Result<()> {
    names::touched(&Shell::start().await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_behind() -> Result<()> {
    let shell = Shell::start().await?;
    leftovers::signals(&shell).await.context("signals")?;
    leftovers::ignored_signals(&shell).await.context("nohup")?;
    leftovers::interrupted_jobs(&Shell::start().await?).await.context("jobs in the background")?;
    leftovers::moved_parents(&shell).await.context("moved parents")?;
    leftovers::no_room(&shell).await.context("no room")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_are_writing_is_in_no_copy() -> Result<()> {
    leftovers::others_transfers(&Shell::start().await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environment_changes_no_transfer() -> Result<()> {
    surroundings::environment(&Shell::start().await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn many_transfers_share_few_descriptors() -> Result<()> {
    surroundings::few_descriptors(&Shell::start().await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_has_what_stays_exactly_once() -> Result<()> {
    surroundings::changes_under_a_listing(&Shell::start().await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_started_by_several_at_once() -> Result<()> {
    surroundings::company(&Shell::start().await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn all_works_on_ipv6() -> Result<()> {
    surroundings::version_six(&Shell::start().await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_removed_comes_back() -> Result<()> {
    trash::comes_back(&Shell::start().await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_removed_is_its_users_business() -> Result<()> {
    trash::is_private(&Shell::start().await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_removed_goes_in_time() -> Result<()> {
    trash::goes_in_time(&Shell::start().await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_come_from_where_the_namenodes_are_told() -> Result<()> {
    administration::groups().await
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_count_for_the_whole_cluster() -> Result<()> {
    administration::settings(&Shell::start().await?).await
}
