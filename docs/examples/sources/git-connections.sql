-- For the preset git-connections: what the webhook may see, and how it hears of changes. To be run by the tables' owner.

-- A role that can do nothing but read what the query reads. Its password goes into the file of the connection string.
CREATE ROLE pullsecret LOGIN CONNECTION LIMIT 20;
ALTER ROLE pullsecret SET default_transaction_read_only = on;
-- If row-level security hides rows, the query fails; fewer rows would look like an owner without credentials.
ALTER ROLE pullsecret SET row_security = off;
GRANT SELECT (user_id, provider, server_url, username, access_token, expires_at, status)
  ON git_connections TO pullsecret;

-- The query compares ids as text, so that an owner that is no id finds nothing instead of failing.
CREATE INDEX git_connections_owner ON git_connections ((user_id::text));

-- A notification names the owner, never the content; an empty name stands for all owners.
CREATE FUNCTION pullsecret_owner_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP <> 'INSERT' THEN PERFORM pg_notify('pullsecret_owner_changed', OLD.user_id::text); END IF;
  IF TG_OP <> 'DELETE' THEN PERFORM pg_notify('pullsecret_owner_changed', NEW.user_id::text); END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER pullsecret_owner_changed AFTER INSERT OR UPDATE OR DELETE ON git_connections
  FOR EACH ROW EXECUTE FUNCTION pullsecret_owner_changed();
CREATE FUNCTION pullsecret_everybody_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify('pullsecret_owner_changed', '');
  RETURN NULL;
END $$;
CREATE TRIGGER pullsecret_everybody_changed AFTER TRUNCATE ON git_connections
  FOR EACH STATEMENT EXECUTE FUNCTION pullsecret_everybody_changed();
