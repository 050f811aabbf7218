//! Everything that can be done, with its name, whether it changes anything, and its words for help.
//!
//! It does nothing, and knows no keys.

macro_rules! actions {
    ($($(#[doc = $doc:literal])* $variant:ident = $name:literal, $mutates:literal, $help:literal;)*) => {
        /// Something that can be done.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Action {
            $($(#[doc = $doc])* $variant,)*
        }

        impl Action {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Its name in `tui.toml` and in the palette.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            /// Whether it changes anything in the daemon, or has a receiver asked.
            #[must_use]
            pub const fn mutates(self) -> bool {
                match self { $(Self::$variant => $mutates),* }
            }

            /// What it does, for help.
            #[must_use]
            pub const fn help(self) -> &'static str {
                match self { $(Self::$variant => $help),* }
            }
        }
    };
}

actions! {
    /// Shows help.
    Help = "help", false, "what can be done here";
    /// Asks for a command.
    Command = "command", false, "commands";
    /// Ends.
    Quit = "quit", false, "quit";
    /// One step back: closes, clears a filter, goes back. Never ends.
    Back = "back", false, "close, clear, go back";
    /// One step back, and from a tab: ends.
    Leave = "leave", false, "go back; from a tab: quit";
    /// To the first tab.
    Overview = "overview", false, "tab Overview";
    /// To the second tab.
    Webhooks = "webhooks", false, "tab Webhooks";
    /// To the third tab.
    Deliveries = "deliveries", false, "tab Deliveries";
    /// To the fourth tab.
    Events = "events", false, "tab Events";
    /// To the fifth tab.
    System = "system", false, "tab System";
    /// One line up.
    Up = "up", false, "up";
    /// One line down.
    Down = "down", false, "down";
    /// To the beginning.
    Top = "top", false, "top; in a live list: go live";
    /// To the end.
    Bottom = "bottom", false, "bottom";
    /// A page up.
    PageUp = "page-up", false, "page up";
    /// A page down.
    PageDown = "page-down", false, "page down";
    /// Half a page up.
    HalfUp = "half-up", false, "half a page up";
    /// Half a page down.
    HalfDown = "half-down", false, "half a page down";
    /// Sideways.
    Left = "left", false, "sideways left";
    /// Sideways.
    Right = "right", false, "sideways right";
    /// The next pane or field.
    Next = "next", false, "next pane or field";
    /// The one before.
    Previous = "previous", false, "previous pane or field";
    /// Opens what is chosen.
    Open = "open", false, "open";
    /// Looks for something.
    Search = "search", false, "search";
    /// The next match.
    NextMatch = "next-match", false, "next match";
    /// The match before.
    PreviousMatch = "previous-match", false, "previous match";
    /// Takes the last change back.
    Undo = "undo", true, "undo the last change";
    /// Draws everything anew.
    Redraw = "redraw", false, "draw everything anew";
    /// Switches the mouse.
    Mouse = "mouse", false, "mouse on or off";
    /// Puts the program to sleep.
    Suspend = "suspend", false, "suspend";
    /// Gives columns their whole width.
    Wide = "wide", false, "wide columns";
    /// Sorts by the next column.
    Sort = "sort", false, "sort by the next column";
    /// The other way round.
    SortReverse = "sort-reverse", false, "sort the other way round";
    /// Copies what it is known by.
    CopyReference = "copy-reference", false, "copy scanRef, name or line";
    /// Copies the payload, or the URL of a webhook.
    CopyPayload = "copy-payload", false, "copy payload or URL";
    /// Copies a command for a shell.
    CopyCurl = "copy-curl", false, "copy as curl, secrets masked";
    /// A new webhook, or a new token.
    New = "new", true, "new";
    /// Makes one like it.
    Clone = "clone", true, "clone";
    /// Deletes.
    Delete = "delete", true, "delete";
    /// Tests a webhook.
    Test = "test", true, "test";
    /// Active or not.
    Toggle = "toggle", true, "on or off";
    /// Deliveries wait.
    Pause = "pause", true, "pause sending: deliveries are made and wait";
    /// Deliveries go on.
    Resume = "resume", true, "resume sending";
    /// Deliveries of a webhook.
    Recent = "recent", false, "recently sent to it";
    /// Changes it in an editor.
    Editor = "editor", true, "edit in $EDITOR";
    /// Marks the row.
    Mark = "mark", false, "mark";
    /// Marks all rows on screen, or none.
    MarkAll = "mark-all", false, "mark all on screen, or none";
    /// Narrows by the class of the response.
    Class = "class", false, "class of the response";
    /// Narrows by anything.
    Filter = "filter", false, "filter";
    /// Another go at one.
    Resend = "resend", true, "resend";
    /// Another go at what is marked, or at what the filter shows.
    ResendMany = "resend-many", true, "resend the marked, or all that the filter shows";
    /// Gives up the attempts to come.
    Stop = "stop", true, "stop retrying";
    /// Gives up those of what is marked, or of what the filter shows.
    StopMany = "stop-many", true, "stop retrying the marked, or all that the filter shows";
    /// Stops the list, or lets it go on.
    Live = "live", false, "hold the list, or go live";
    /// Shows the payload as a whole.
    Payload = "payload", false, "payload";
    /// Shows the request.
    Request = "request", false, "request headers";
    /// The next one.
    NextItem = "next-item", false, "next";
    /// The one before.
    PreviousItem = "previous-item", false, "previous";
    /// Writes it to a file.
    Export = "export", false, "write to a file";
    /// Shows it in $PAGER.
    Pager = "pager", false, "show in $PAGER";
    /// Folds or unfolds.
    Fold = "fold", false, "fold or unfold";
    /// Folds or unfolds everything.
    FoldAll = "fold-all", false, "fold or unfold everything";
    /// Schema or example.
    Example = "example", false, "schema or example";
    /// Saves the form.
    Save = "save", true, "save";
    /// The schema of the event type.
    Schema = "schema", false, "JSON schema and example";
    /// Makes a signing key.
    NewKey = "new-key", true, "make a new signing key";
    /// Shows a secret for a while.
    Reveal = "reveal", true, "show a secret for 10 seconds";
    /// Another header.
    AddHeader = "add-header", true, "add a header";
    /// One header less.
    RemoveHeader = "remove-header", true, "remove the header";
    /// Whether the header is secret.
    SecretHeader = "secret-header", true, "header secret or not";
    /// Checks every record of the store.
    Verify = "verify", true, "check every record of the store";
    /// Sends a test mail.
    TestMail = "test-mail", true, "send a test mail";
}

impl Action {
    /// The action with this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|action| action.name() == name)
    }
}
