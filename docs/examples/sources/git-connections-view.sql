-- Still less for the role than the columns that git-connections.sql grants: a view, and of the table nothing. After
-- git-connections.sql, by the tables' owner. The view also decides which rows there are, such as those of one purpose.
-- It reads with its owner's rights, so policies of row-level security on the table do not concern the role.
-- The query for it, instead of a preset:
--   SELECT owner, provider, server_url, username, password, expires, status FROM pullsecret_connections
--   WHERE owner = ANY(%(owners)s)
CREATE VIEW pullsecret_connections WITH (security_barrier) AS
  SELECT user_id::text AS owner, provider, server_url, username, access_token AS password, expires_at AS expires, status
  FROM git_connections;
REVOKE ALL ON git_connections FROM pullsecret;
GRANT SELECT ON pullsecret_connections TO pullsecret;
