-- Files that a call made for the speaker: a repeated delivery answers with the same ones.
ALTER TABLE tools.calls ADD COLUMN attachments jsonb;
